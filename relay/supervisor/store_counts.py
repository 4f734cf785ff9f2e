"""What the supervisor counts about the store of flows. Workers have `relay.shared.counters`."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class StoreCounts:
    """One number per fact. Names are metric labels and keys of the admin API."""

    flow_store_writes: int = 0  # entries written
    flow_store_write_failures: int = 0  # batches that were not; they are written again
    flow_store_questions: int = 0  # addresses the workers asked about
    flow_store_found: int = 0
    flow_store_unknown: int = 0
    flow_store_unanswered: int = 0  # the store did not answer in time
    flow_store_refused: int = 0  # not asked: too many waiting, or an outage

    def named(self) -> dict[str, int]:
        """All counters by name."""
        return asdict(self)
