"""What a caller raises."""

from __future__ import annotations


class CallFailedError(Exception):
    """A call did not do what it should; `reason` is a short word to count by, never an address."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CallRefusedError(CallFailedError):
    """The target answered 429 or 503; `retry_after_s` is what it asks for, None if nothing."""

    def __init__(self, status: int, retry_after_s: float | None) -> None:
        super().__init__(f"http_{status}")
        self.retry_after_s = retry_after_s
