"""What the supervisor wants from a running worker: keys, limits, watched flows.

Every message carries the whole state and not a change of it. So a worker that missed one, or that
was just started, is right after the next. The worker writes the number of the orders that it has
carried out into shared memory (`relay.shared.telemetry`), and there others can wait for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from relay.shared.control import Message
from relay.shared.rates import Rates
from relay.shared.voice import WatchOrder

_KIND = "orders"


@dataclass(frozen=True)
class Orders:
    """One state of things. `number` rises with each; key rings as `KeyRing.parse` reads them."""

    number: int
    token_keys: str = field(repr=False)
    trunk_keys: str = field(repr=False)
    rates: Rates
    checks_trunk_source: bool = True
    watches: tuple[WatchOrder, ...] = field(default=(), repr=False)

    def message(self) -> Message:
        """As the control channel carries it."""
        watches = [{**asdict(w), "address": w.address.hex()} for w in self.watches]
        return {_KIND: {**asdict(self), "watches": watches}}


def read_orders(message: Message) -> Orders | None:
    """The orders in a control message; None when it is about something else."""
    content: dict[str, Any] | None = message.get(_KIND)
    if content is None:
        return None
    watches = tuple(
        WatchOrder(**{**watch, "address": bytes.fromhex(watch["address"])})
        for watch in content["watches"]
    )
    return Orders(**{**content, "rates": Rates(**content["rates"]), "watches": watches})
