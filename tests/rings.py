"""The token keys that tests give to processes, for stores that read what those have sealed."""

from __future__ import annotations

from wire.keys import KeyRing

_RING = KeyRing(1, {1: b"t" * 32})


def token_ring() -> KeyRing:
    """As `TRUNKLINE_TOKEN_KEYS=1:7474…` in the tests of processes."""
    return _RING
