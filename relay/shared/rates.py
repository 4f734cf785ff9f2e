"""How many packets a second each budget of a worker has (`relay.worker.limits`)."""

from __future__ import annotations

from dataclasses import dataclass

MAX_RATE = 10_000_000


@dataclass(frozen=True)
class Rates:
    """Packets per second of each budget; 0 lifts a limit."""

    strangers: int = 0
    checks: int = 0
    packets: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a rate out of range."""
        for name, rate in vars(self).items():
            if not 0 <= rate <= MAX_RATE:
                raise ValueError(f"{name} is not within 0 to {MAX_RATE}")
