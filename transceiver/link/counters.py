"""What a model link counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinkCounters:
    """What the link did and had to put up with, since it was made."""

    link_audio_dropped: int = 0  # frames to the backend, at a bound
    link_data_overflows: int = 0  # calls ended because their data could wait no longer
    link_credit_violations: int = 0  # frames a backend sent beyond its credit; delivered anyway
    link_snapshot_violations: int = 0  # snapshots too large to be kept
    link_late_events: int = 0  # events of calls that had already ended here
    link_sink_failures: int = 0  # exceptions out of a sink
    link_connects: int = 0
    link_losses: int = 0
