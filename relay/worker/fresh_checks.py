"""Refuses valid STUN checks that are recordings, or one of too many.

A check proves that its sender knew the password of the call when the check was made. It does not
prove that it was made now or here, because STUN has no time in it (RFC 8489) and the address is not
covered. So there are three rules.

- A transaction belongs to the address from which it was first seen. The same transaction id from
  another address is a recording that somebody else sends. Browsers choose a fresh id of 96 bits for
  every check. If a caller's NAT rebinds during one check, the caller loses that check and not the
  next one.
- A transaction may come again from its own address, because STUN retransmits. But it is not new
  then, and it moves no flow: a NAT may have given the address to somebody else meanwhile.
- One ufrag makes at most `ADDRESS_BURST` flows at once, and then one in ten seconds. A caller has a
  few candidates, and changes networks now and then. Somebody who shares the credentials of a call
  with a crowd cannot fill the flow table.

Both tables have a fixed size. All workers of a relay share the log of transactions, because the
kernel gives another address to another worker. An entry is one word, so nobody sees it half
written, and it stays until another transaction needs its place.
"""

from __future__ import annotations

import os
from enum import Enum
from hashlib import blake2b

import numpy as np

from relay.worker.limits import TokenBuckets
from wire.errors import WireError

LOG_ENTRIES = 1 << 18  # 2 MB; 20,000 callers' checks (8,000 a second) of half a minute
ADDRESS_BURST = 32
ADDRESS_RATE_PER_S = 0.1
_KEY_BYTES = 64
_TAG_MASK = 0xFFFFFFFF


class Seen(Enum):
    """Whether a transaction was seen before."""

    NEVER = "never"
    HERE = "here"  # from the same address: a retransmission
    ELSEWHERE = "elsewhere"


class CheckLog:
    """Recent transactions and the addresses they came from, over shared memory."""

    SIZE_BYTES = _KEY_BYTES + 8 * LOG_ENTRIES

    def __init__(self, buffer: memoryview) -> None:
        """Lay the log over `buffer`, `SIZE_BYTES` long; what it holds is kept."""
        if not any(buffer[:_KEY_BYTES]):
            buffer[:_KEY_BYTES] = os.urandom(_KEY_BYTES)
        self._key = bytes(buffer[:_KEY_BYTES])
        self._entries = buffer[_KEY_BYTES : self.SIZE_BYTES].cast("Q")

    def seen(self, transaction_id: bytes, address: bytes) -> Seen:
        """Whether the transaction was seen, and from where; notes it if not."""
        mixed = self.hash(transaction_id)
        place, tag = mixed % LOG_ENTRIES, mixed >> 32 | 1
        source = self.hash(address) & _TAG_MASK
        entry = self._entries[place]
        if entry >> 32 == tag:
            return Seen.HERE if entry & _TAG_MASK == source else Seen.ELSEWHERE
        self._entries[place] = tag << 32 | source
        return Seen.NEVER

    def hash(self, data: bytes) -> int:
        """64 bits of a hash that nobody outside can predict."""
        # Keyed, or a sender could choose transactions that push out the one he has recorded.
        return int.from_bytes(blake2b(data, key=self._key, digest_size=8).digest())


class FreshChecks:
    """The rules, for one worker."""

    def __init__(self, log: CheckLog) -> None:
        self._log = log
        self._addresses = TokenBuckets(ADDRESS_RATE_PER_S, ADDRESS_BURST, buckets=1 << 14)

    def admit(self, transaction_id: bytes, address: bytes) -> bool:
        """Whether the check is a repeat, which may not move a flow.

        Raises WireError `stun_replay` for one that was first seen from another 18-byte address.
        """
        seen = self._log.seen(transaction_id, address)
        if seen is Seen.ELSEWHERE:
            raise WireError("stun_replay")
        return seen is Seen.HERE

    def admit_address(self, ufrag: str, now_ms: int) -> None:
        """Raise WireError `ufrag_addresses` when this ufrag has made too many flows."""
        key = np.array([self._log.hash(ufrag.encode())], np.uint64)
        if not self._addresses.admit(key, now_ms)[0]:
            raise WireError("ufrag_addresses")
