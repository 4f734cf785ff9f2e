"""The turns that were reported to the client, and what it reports about them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from backends.realtime.client_events import ClientReport
from backends.realtime.events import ServerEvent, server_event
from backends.realtime.refusals import Refusal

MAX_TURNS = 16  # that are remembered; who reports later is refused


class ReportedTurns:
    """A turn is told as `trunkline.turn`, perhaps again, and may be reported on once."""

    def __init__(self) -> None:
        # By turn, as told last; None when it was reported on.
        self._network: OrderedDict[int, Mapping[str, Any] | None] = OrderedDict()

    def tell(self, record: Mapping[str, Any]) -> ServerEvent:
        """The event that tells of a turn; `record` has `turn`, its number, and `network`."""
        turn, network = record["turn"], record["network"]
        if self._network.get(turn, network) is not None:  # else it was reported on
            self._network[turn] = network
        while len(self._network) > MAX_TURNS:
            self._network.popitem(last=False)
        return server_event("trunkline.turn", **record)

    def report(self, event: ClientReport) -> ServerEvent:
        """All that is known now of the network in a turn. Raises Refusal for a turn not awaited."""
        told = self._network.get(event.turn)
        if told is None:
            message = f"Invalid 'turn': no report is awaited on turn {event.turn}."
            raise Refusal("invalid_value", message, "turn")
        self._network[event.turn] = None
        measured = {
            "client_rtt_ms": event.rtt_ms,
            "client_jitter_buffer_ms": event.jitter_buffer_ms,
        }
        network = {**told, **measured}
        return server_event("trunkline.turn_network", turn=event.turn, network=network)
