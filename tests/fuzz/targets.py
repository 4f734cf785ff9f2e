"""Everything that can be fuzzed: the rows, and two wholes with a life of their own."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.campaign import Campaign, RowCampaign
from tests.fuzz.relay_engine import Attack
from tests.fuzz.rows import ROWS

WHOLE_RELAY = "a relay's worker"


class RelayCampaign:
    """Mutated packets against a whole worker of a relay, both ways."""

    name, weight = WHOLE_RELAY, 40

    def __init__(self, seed: int) -> None:
        self._attack = Attack(seed)

    async def throw(self, count: int) -> None:
        """As `Campaign.throw`."""
        self._attack.run(count)

    async def close(self) -> None:
        """Let go of its sockets."""
        self._attack.close()


def _of(name: str) -> Callable[[int], Campaign]:
    return lambda seed: RowCampaign(ROWS[name], seed)


TARGETS: dict[str, Callable[[int], Campaign]] = {
    **{name: _of(name) for name in ROWS},
    WHOLE_RELAY: RelayCampaign,
}
