"""A claim: a transceiver tells a relay worker whose a call is now.

     0                      24      28      32      a frame of type CLAIM (`wire.trunk`)
     ├──────────────────────┼───────┼───────┤
     │        ufrag         │ owner │fenced │       entry address: the client's, zero if not known
     └──────────────────────┴───────┴───────┘

The ufrag says for ever which node answered the offer. A call that another process owns now is
found by its claim instead: STUN requests with this ufrag, and packets from this address, are the
owner's. `owner` and `fenced` are senders as in the trunk's header (`node << 16 | epoch`). What is
`fenced` was lost, and must not be believed any more; 0 says that nobody is.

The relay worker's answer (CLAIMED) is the same frame, once all of this is so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from wire.address import ADDRESS_BYTES
from wire.errors import WireError
from wire.token import MAX_EPOCH, MAX_NODE

NOWHERE = bytes(ADDRESS_BYTES)
"""The entry address of a claim that names no client."""
ALIVE = (NOWHERE, b"")
"""The one frame of an ALIVE datagram."""
NOBODY = 0
"""`fenced` of a claim that fences nobody."""

_CLAIM = struct.Struct("!24sII")
CLAIM_BYTES = _CLAIM.size


@dataclass(frozen=True, slots=True)
class Claim:
    """`ufrag` and the client's 18-byte `address` lead to `owner` from now on."""

    ufrag: str = field(repr=False)
    owner: int
    fenced: int = NOBODY
    address: bytes = field(default=NOWHERE, repr=False)

    def frame(self) -> tuple[bytes, bytes]:
        """Entry address and payload, as `wire.trunk.pack` takes them."""
        return self.address, _CLAIM.pack(self.ufrag.encode(), self.owner, self.fenced)


def read(address: bytes, payload: bytes) -> Claim:
    """The claim in a frame. Raises WireError `trunk_claim`; whether the ufrag is ours is open."""
    try:
        ufrag, owner, fenced = _CLAIM.unpack(payload)
        return Claim(ufrag.decode("ascii"), owner, fenced, address)
    except (struct.error, UnicodeDecodeError):
        raise WireError("trunk_claim") from None


def sender(node: int, epoch: int) -> int:
    """A transceiver as the trunk names it. Raises ValueError for what is none."""
    if not (0 <= node <= MAX_NODE and 0 <= epoch <= MAX_EPOCH):
        raise ValueError("node and epoch are within 0 to 65535")
    return node << 16 | epoch


def node_and_epoch(number: int) -> tuple[int, int]:
    """Node and epoch of a transceiver's sender number."""
    return number >> 16, number & MAX_EPOCH
