"""What a call on the link needs of its stream and of its link."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from transceiver.link.counters import LinkCounters
from transceiver.link.errors import LinkError
from transceiver.link.outbox import Outbox
from trunkline.v1 import model_pb2, record_pb2


class Link(Protocol):
    """Who counts what happens to calls, and hears how they were answered and what they used."""

    counters: LinkCounters
    on_answer: Callable[[LinkError | None], None]
    on_usage: Callable[[str, model_pb2.Usage], None]
    on_recorded: Callable[[str, record_pb2.Recorded], None]


class Carrier(Protocol):
    """What a handle needs of the stream it is on."""

    outbox: Outbox

    @property
    def link(self) -> Link:
        """The link that the stream is one of."""

    def forget(self, number: int) -> None:
        """The call's handle is done with the stream."""
