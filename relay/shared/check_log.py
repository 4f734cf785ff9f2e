"""Which STUN checks a relay has seen, and from where: what its workers tell each other of them.

The kernel gives another address to another worker, so the log is one for all. It is of fixed size;
an entry is one word, so that it is never seen half written, and stands until another transaction
needs its place.

A transaction is known by its call and its id: an id belongs to whoever made it (RFC 8489 §5 asks
for a random one), and devices of one make send the same id in every call.
"""

from __future__ import annotations

import os
from enum import Enum
from hashlib import blake2b

LOG_ENTRIES = 1 << 18  # 2 MB; 20,000 callers' checks (8,000 a second) of half a minute
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

    def seen(self, ufrag: str, transaction_id: bytes, address: bytes) -> Seen:
        """Whether the transaction of this call was seen, and from where; notes it if not.

        The id is the last 12 bytes of what is hashed, so no two pairs run together.
        """
        mixed = self.hash(ufrag.encode() + transaction_id)
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
