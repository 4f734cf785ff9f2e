"""The route token: a server ICE username fragment that says where the call lives.

    24 characters of Crockford base32 = 120 bits

     0    4          16            32            48                     80              120
     ├────┼───────────┼─────────────┼─────────────┼──────────────────────┼────────────────┤
     │ver │  cluster  │    node     │    epoch    │        random        │      MAC       │
     └────┴───────────┴─────────────┴─────────────┴──────────────────────┴────────────────┘

- `ver` is the id of the key that made the MAC, so keys rotate.
- `cluster` and `node` are indexes, never addresses: a token cannot aim a relay at a host of the
  caller's choice, and tells a reader nothing about the network.
- `epoch` rises each time a node index gets a new owner, so an old token never reaches a newcomer.
- `random`: RFC 8445 §5.3 asks for at least 24 bits in a ufrag; here are 32.
- `MAC`: keyed BLAKE2s over the 80 bits before it, 40 bits. At 100,000 guesses a second a forger
  waits 127 days on average for one hit, which then still lacks the password.

RFC 8839 §5.4 lets a sender use 32 characters at most; some clients break on fewer than that or on
punctuation, hence 24 letters and digits.

The ICE password is derived, not stored, so that whoever holds the key can check MESSAGE-INTEGRITY
of a first packet without any state: `HMAC-SHA256(key, "ice-pwd" ‖ ufrag)`, 160 bits of it, as 32
characters of base32 (RFC 8445 §5.3 asks for at least 128 bits).
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from hashlib import blake2s

from wire import crockford
from wire.errors import WireError
from wire.keys import KeyRing

UFRAG_LENGTH = 24
PASSWORD_LENGTH = 32
MAX_CLUSTER = 0xFFF
MAX_NODE = 0xFFFF
MAX_EPOCH = 0xFFFF

_MAC_BYTES = 5
_BODY = struct.Struct("!HHHI")  # ver 4 bits + cluster 12 bits, node, epoch, random


@dataclass(frozen=True)
class Route:
    """Where a ufrag leads: `cluster` 0–4095, `node` and `epoch` 0–65535."""

    cluster: int
    node: int
    epoch: int


def mint(keys: KeyRing, route: Route, random: bytes) -> str:
    """A fresh ufrag for `route`, signed with the current key; `random` is 4 random bytes."""
    (nonce,) = struct.unpack("!I", random)
    head = keys.current << 12 | route.cluster
    body = _BODY.pack(head, route.node, route.epoch, nonce)
    return crockford.encode(body + _mac(keys.keys[keys.current], body))


def read(keys: KeyRing, ufrag: str) -> Route:
    """The route of a ufrag whose MAC holds.

    Raises WireError with reason `token_length`, `token_alphabet`, `token_key` (signed with a key
    that was retired or never was ours) or `token_mac`.
    """
    data = _decode(ufrag)
    body, mac = data[: _BODY.size], data[_BODY.size :]
    head, node, epoch, _ = _BODY.unpack(body)
    key = keys.keys.get(head >> 12)
    if key is None:
        raise WireError("token_key")
    if not hmac.compare_digest(mac, _mac(key, body)):
        raise WireError("token_mac")
    return Route(cluster=head & MAX_CLUSTER, node=node, epoch=epoch)


def password(keys: KeyRing, ufrag: str) -> str:
    """The ICE password that belongs to `ufrag`. Raises WireError as `read` does."""
    key_id = _decode(ufrag)[0] >> 4
    key = keys.keys.get(key_id)
    if key is None:
        raise WireError("token_key")
    digest = hmac.digest(key, b"ice-pwd" + ufrag.encode(), "sha256")
    return crockford.encode(digest[:20])


def _decode(ufrag: str) -> bytes:
    if len(ufrag) != UFRAG_LENGTH:
        raise WireError("token_length")
    try:
        return crockford.decode(ufrag)
    except WireError:
        raise WireError("token_alphabet") from None


def _mac(key: bytes, body: bytes) -> bytes:
    # `person` separates this use of the key from any other.
    return blake2s(body, key=key, digest_size=_MAC_BYTES, person=b"ufrag").digest()
