"""What went wrong in the supervisor, or was said by a worker: counted, and logged now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

import structlog

_log = structlog.get_logger(__name__)


class Faults:
    """Counts by place. A line for the first of a place, the second, the fourth, the eighth …"""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, place: str, error: Exception) -> None:
        """`error` was raised and survived."""
        self._counts[place] += 1
        count = self._counts[place]
        if count & (count - 1) == 0:
            # Without its text, which may hold what was sent, unless it is the kernel's.
            reason = error.strerror if isinstance(error, OSError) else None
            _log.error(
                "relay_fault", place=place, kind=type(error).__name__, reason=reason, count=count
            )

    def at(self, place: str) -> partial[None]:
        """`note` for one place."""
        return partial(self.note, place)

    def counts(self) -> Mapping[str, int]:
        """How many, by place."""
        return dict(self._counts)
