"""The layers of the bill, and what of the record belongs to each."""

from __future__ import annotations

from enum import Enum


class Layer(Enum):
    """Who a cost belongs to. The value is its name in answers."""

    TRANSPORT = "transport"
    LATENCY = "latency_engineering"
    SCALING = "scaling"
    OBSERVABILITY = "observability"
    MODEL = "model"


PLUMBING = tuple(layer for layer in Layer if layer is not Layer.MODEL)

SAYS = {
    Layer.TRANSPORT: "Core-seconds of transceiver and relay, bytes to and from the caller. In "
    "time: the round trip and the jitter buffers at both ends.",
    Layer.LATENCY: "In time: the wait until the turn was over, and the way of the first sound out. "
    "In money it has no meter of its own: its work is in the core-seconds of the transport, and "
    "drafts that were thrown away are in the model.",
    Layer.SCALING: "The call's place in Redis, bytes between regions. In time: the silence of "
    "moves, which is not part of an answer.",
    Layer.OBSERVABILITY: "Core-seconds of the recorder, storage of the record. It adds no time: "
    "events are written beside the path of the sound.",
    Layer.MODEL: "What models used, as backends reported it. In time: from the end of the turn to "
    "the first sound, with tools.",
}
"""One sentence or more for whoever reads a report."""
