"""What the supervisor counts of transceivers that fall silent."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class SuspicionCounts:
    """One number per fact. Names are metric labels and keys of the admin API."""

    suspicions: int = 0  # of transceivers that fell silent
    suspicions_unsaid: int = 0  # of them, that did not reach Redis in time

    def named(self) -> dict[str, int]:
        """All counters by name."""
        return asdict(self)
