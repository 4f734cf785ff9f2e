"""A model backend that only listens: PCM of every call with RTP time and time of arrival.

It serves ModelBackend itself, so that our transceiver and stock aiortc talk to the same listener.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
import numpy as np

from loadtest.recording import Recording
from loadtest.sound import Samples
from trunkline.v1 import model_pb2, model_pb2_grpc

MAX_S = 60.0


@dataclass
class Heard:
    """One call: the sound by RTP time (a hole stays silent), and when each time stamp came."""

    recording: Recording = field(default_factory=lambda: Recording(MAX_S))
    arrived_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin at RTP time 0, where our callers begin, also when their first packet is lost."""
        self.recording.add(0, np.zeros(0, np.int16))


class Recorder:
    """The service; `calls` goes by public call id."""

    def __init__(self) -> None:
        self.calls: dict[str, Heard] = {}
        self.port = 0

    async def Connect(  # noqa: N802 - named by the service
        self,
        requests: AsyncIterator[model_pb2.ToBackend],
        _context: object,
    ) -> AsyncIterator[model_pb2.ToTransceiver]:
        """Greet, accept every call, listen."""
        numbers: dict[int, Heard] = {}
        async for batch in requests:
            answer = model_pb2.ToTransceiver()
            if batch.HasField("hello"):
                answer.welcome.protocol = 1
                answer.welcome.backend = "recorder"
                answer.welcome.accepts.append(model_pb2.AUDIO_FORMAT_PCM16_48000)
                yield answer
                continue
            for event in batch.events:
                self._take(event, numbers, answer)
            if answer.events:
                yield answer

    def _take(
        self,
        event: model_pb2.CallEvent,
        numbers: dict[int, Heard],
        answer: model_pb2.ToTransceiver,
    ) -> None:
        if event.HasField("started"):
            numbers[event.call] = self.calls[event.started.call_id] = Heard()
            accepted = answer.events.add()
            accepted.call = event.call
            accepted.accepted.SetInParent()
        elif event.HasField("audio") and event.call in numbers:
            heard, audio = numbers[event.call], event.audio
            heard.arrived_s.setdefault(audio.rtp_time, time.time())
            heard.recording.add(audio.rtp_time, _samples(audio.payload))


def _samples(payload: bytes) -> Samples:
    return np.frombuffer(payload, "<i2").astype(np.int16)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """Serve on a free port for the length of the block."""
    listening, server = Recorder(), grpc.aio.server()
    model_pb2_grpc.add_ModelBackendServicer_to_server(listening, server)  # type: ignore[no-untyped-call]
    listening.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield listening
    finally:
        await server.stop(None)
