"""The one error of this package.

    ValueError
    └── WireError        bytes that are not what they should be; `reason` is one word for a counter

Every reader in `wire` either returns a value or raises WireError, whatever the bytes
(`tests/wire/test_hostile_bytes.py` holds that). Cores catch it and count the reason.
"""

from __future__ import annotations


class WireError(ValueError):
    """Bytes that cannot be read. `reason` is a short fixed word, fit for a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
