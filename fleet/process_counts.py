"""What every process of the fleet counts, whatever it does: for metrics, by counter name."""

from __future__ import annotations

from fleet import logs, redis_link
from fleet.admin import guard


def process_counts() -> dict[str, int]:
    """Lines the log lost, admin calls refused or failed, and what Redis said that was not ours."""
    return {**logs.counts(), **guard.counts, **redis_link.counts}
