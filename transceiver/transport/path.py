"""One address of the caller: what ICE knows of it, and what may be sent there.

Somebody with the credentials of a call can send checks, and later sound, with the source address of
somebody else. So authentication proves the call and never the address. An address has answered when
something comes from it that only a reader of what was sent there can know:

    a response to a check of ours            its transaction id is 96 random bits
    the end of the DTLS handshake            if all our flights went to this one address

Until then it gets at most three times the bytes that came from it (the rule of RFC 9000 §8.1; RFC
8827 §4.5 asks for consent before more), whatever it is: DTLS flights and their repetitions, sound,
farewells, answers to checks.
"""

from __future__ import annotations

import secrets

MAX_AMPLIFICATION = 3
UNBOUNDED_BYTES = 1 << 16  # more than a datagram has


class Path:
    """One address (18 bytes of `wire.address`). Read on the way of every packet."""

    __slots__ = (
        "address",
        "allowance_bytes",
        "answered",
        "last_s",
        "nominated",
        "priority",
        "transaction_id",
    )

    def __init__(self, address: bytes) -> None:
        self.address = address
        self.priority = 0  # of its last check
        self.nominated = False
        self.last_s = 0.0  # when that came
        self.answered = False
        self.allowance_bytes = 0
        self.transaction_id = secrets.token_bytes(12)  # of our checks to it

    def came(self, size_bytes: int) -> None:
        """A datagram came from there."""
        self.allowance_bytes += MAX_AMPLIFICATION * size_bytes

    def takes(self, size_bytes: int) -> bool:
        """Whether a datagram may go there now; then it counts as sent."""
        if self.answered:
            return True
        if size_bytes > self.allowance_bytes:
            return False
        self.allowance_bytes -= size_bytes
        return True

    @property
    def room_bytes(self) -> int:
        """How long a datagram to it may be now."""
        return UNBOUNDED_BYTES if self.answered else self.allowance_bytes
