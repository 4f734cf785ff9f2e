"""Counts the times a store stopped answering, and says each once in the log."""

from __future__ import annotations

import structlog

from fleet.backoff import STORE_PACE

log = structlog.get_logger(__name__)


class OutageCounter:
    """`outages` is how often the store went away, `failures` how many calls in a row failed now."""

    def __init__(self, user: str) -> None:
        self._user = user
        self.outages = 0
        self.failures = 0

    def failed(self, error: Exception) -> None:
        """A call failed. Only the first of a row is logged."""
        self.failures += 1
        if self.failures == 1:
            self.outages += 1
            log.warning("store_outage_began", user=self._user, reason=str(error))

    def answered(self) -> None:
        """A call was answered."""
        if self.failures:
            log.info("store_outage_ended", user=self._user, failed_calls=self.failures)
        self.failures = 0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next call; 0 when the last one was answered."""
        return STORE_PACE.wait_s(self.failures)
