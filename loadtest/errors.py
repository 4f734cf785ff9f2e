"""What a caller raises."""

from __future__ import annotations


class CallFailedError(Exception):
    """A call did not do what it should; `reason` is a short word to count by, never an address."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
