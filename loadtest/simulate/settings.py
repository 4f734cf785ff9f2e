"""What a simulated day is like. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400
MAX_NODES = 1024


@dataclass(frozen=True)
class Settings:
    """The fleet and its day. Raises ValueError for what makes no sense.

    `peak_ratio` is the busiest moment over the average of the day, which it reaches at noon;
    `lost_on_failure` is the share of a dead node's calls that nobody takes over.
    """

    calls: int = 1_000_000
    seconds: int = DAY_S
    tick_s: float = 5.0
    mean_call_s: float = 180.0
    peak_ratio: float = 1.8
    node_calls: int = 120
    first_nodes: int = 2
    most_nodes: int = 400
    start_s: float = 40.0
    target_share: float = 0.7
    scale_every_s: float = 15.0
    settle_s: float = 300.0
    drain_s: float = 600.0
    failures: int = 10
    deploys: int = 2
    lost_on_failure: float = 1.0
    tries: int = 5
    retry_s: float = 2.0
    seed: int = 1
    autoscale: bool = True

    def __post_init__(self) -> None:
        """Check the rules."""
        rules = {
            "calls, seconds, tick_s and mean_call_s are above 0": min(
                self.calls, self.seconds, self.tick_s, self.mean_call_s
            )
            > 0,
            "a tick is shorter than the run and than a call": self.tick_s
            < min(self.seconds, self.mean_call_s),
            f"1 to {MAX_NODES} nodes, no more first ones than most": 1
            <= self.first_nodes
            <= self.most_nodes
            <= MAX_NODES,
            "peak_ratio is 1 to 2": 1 <= self.peak_ratio <= 2,
            "target_share is above 0 and at most 1": 0 < self.target_share <= 1,
            "lost_on_failure is 0 to 1": 0 <= self.lost_on_failure <= 1,
            "tries is 1 or more": self.tries >= 1,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))

    @property
    def ticks(self) -> int:
        """How many steps the run has."""
        return round(self.seconds / self.tick_s)

    def in_ticks(self, seconds: float) -> int:
        """A time in steps, at least one."""
        return max(1, round(seconds / self.tick_s))
