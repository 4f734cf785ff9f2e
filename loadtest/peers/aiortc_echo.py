"""A voice server on stock aiortc, to measure beside: it echoes by a model backend over gRPC.

    python -m loadtest.peers.aiortc_echo HTTP_PORT BACKEND_HOST:PORT FORMAT

It does what servers on aiortc do (Pipecat's SmallWebRTC, FastRTC): an RTCPeerConnection a call, a
task that reads the remote track, a track of its own to send. aiortc always decodes to 48 kHz
stereo and always encodes, so the backend hears PCM whatever the caller sends; FORMAT says which
(`pcm16_48000` costs it the least, `pcm16_16000` is what speech models want). Nothing of aiortc is
changed or tuned. All calls share one gRPC stream in batches, as ours do, which is more than such
servers do: they would open a stream, or a WebSocket, for each call.
"""

from __future__ import annotations

import asyncio
import fractions
import itertools
import signal
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field

import av
import grpc.aio
import numpy as np
from aiohttp import web
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from trunkline.v1 import model_pb2

METHOD = "/trunkline.v1.ModelBackend/Connect"
CLOCK_HZ = 48_000  # of `duration` on the model link
FRAMES_A_SECOND = 50
QUEUED_FRAMES = 250
"""Five seconds; a caller further behind loses the newest, as ours does."""
FORMATS = {
    "pcm16_16000": (model_pb2.AUDIO_FORMAT_PCM16_16000, 16_000),
    "pcm16_48000": (model_pb2.AUDIO_FORMAT_PCM16_48000, 48_000),
}


class Backend:
    """The model link, all calls on one stream, one message for what one loop tick gathered."""

    def __init__(self, target: str, audio_format: model_pb2.AudioFormat.ValueType) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._stream = self._channel.stream_stream(
            METHOD,
            request_serializer=model_pb2.ToBackend.SerializeToString,
            response_deserializer=model_pb2.ToTransceiver.FromString,
        )(None)
        self._format = audio_format
        self._numbers = itertools.count(1)
        self._queues: dict[int, asyncio.Queue[bytes]] = {}
        self._batch = model_pb2.ToBackend()
        self._filled = asyncio.Event()

    async def run(self) -> None:
        """Greet, then carry until cancelled or until the backend is gone."""
        hello = model_pb2.Hello(protocol=1, transceiver="aiortc")
        await self._stream.write(model_pb2.ToBackend(hello=hello))
        welcome = await self._stream.read()
        if not isinstance(welcome, model_pb2.ToTransceiver):
            raise ConnectionError("the backend did not greet back")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._read())

    async def close(self) -> None:
        """End the stream."""
        await self._channel.close(None)

    def open_call(self, call_id: str) -> tuple[int, asyncio.Queue[bytes]]:
        """Put a call on the link: its number, and the queue of what the backend says."""
        number = next(self._numbers)
        queue = asyncio.Queue[bytes](QUEUED_FRAMES)
        self._queues[number] = queue
        started = self._event(number).started
        started.call_id = call_id
        started.format = self._format
        started.send_credit = QUEUED_FRAMES
        return number, queue

    def say(self, number: int, payload: bytes, rtp_time: int) -> None:
        """Send one frame of 20 ms."""
        audio = self._event(number).audio
        audio.payload, audio.rtp_time = payload, rtp_time
        audio.duration = CLOCK_HZ // FRAMES_A_SECOND

    def end_call(self, number: int) -> None:
        """Take a call off the link."""
        if self._queues.pop(number, None) is not None:
            self._event(number).ended.reason = "hangup"

    def _event(self, number: int) -> model_pb2.CallEvent:
        event = self._batch.events.add()
        event.call = number
        self._filled.set()
        return event

    async def _write(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            batch, self._batch = self._batch, model_pb2.ToBackend()
            await self._stream.write(batch)

    async def _read(self) -> None:
        while isinstance(batch := await self._stream.read(), model_pb2.ToTransceiver):
            for event in batch.events:
                queue = self._queues.get(event.call)
                if queue is not None and event.HasField("audio") and not queue.full():
                    queue.put_nowait(event.audio.payload)
                    self._event(event.call).credit.frames = 1
        raise ConnectionError("the backend ended the stream")


class EchoTrack(MediaStreamTrack):
    """What the backend says, as a track to send."""

    kind = "audio"

    def __init__(self, queue: asyncio.Queue[bytes], rate_hz: int) -> None:
        super().__init__()
        self._queue = queue
        self._rate_hz = rate_hz
        self._samples = 0

    async def recv(self) -> av.AudioFrame:
        """Return the next frame when it has come."""
        samples = np.frombuffer(await self._queue.get(), np.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate_hz, self._samples
        frame.time_base = fractions.Fraction(1, self._rate_hz)
        self._samples += len(samples)
        return frame


@dataclass
class Call:
    """One caller's peer connection, and the task that listens to it."""

    peer: RTCPeerConnection
    number: int
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Server:
    """The HTTP side, with the paths and answers of our own."""

    def __init__(self, backend: Backend, rate_hz: int) -> None:
        self._backend = backend
        self._rate_hz = rate_hz
        self._calls: dict[str, Call] = {}

    async def create(self, request: web.Request) -> web.Response:
        """Answer an offer."""
        call_id = uuid.uuid4().hex
        number, queue = self._backend.open_call(call_id)
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._calls[call_id] = call = Call(peer, number)
        peer.addTrack(EchoTrack(queue, self._rate_hz))

        @peer.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            call.tasks.append(asyncio.create_task(self._listen(track, number)))

        await peer.setRemoteDescription(RTCSessionDescription(await request.text(), "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(
            status=201,
            text=peer.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": f"/v1/realtime/calls/{call_id}"},
        )

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a call."""
        call = self._calls.pop(request.match_info["call_id"], None)
        if call is None:
            raise web.HTTPNotFound
        await self._close(call)
        return web.Response()

    async def close(self) -> None:
        """End all calls."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            await self._close(call)

    async def _close(self, call: Call) -> None:
        self._backend.end_call(call.number)
        for task in call.tasks:
            task.cancel()
        await call.peer.close()

    async def _listen(self, track: MediaStreamTrack, number: int) -> None:
        cutter = Cutter(self._rate_hz)
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if isinstance(frame, av.AudioFrame):
                    for payload, rtp_time in cutter.cut(frame):
                        self._backend.say(number, payload, rtp_time)


class Cutter:
    """aiortc's 48 kHz stereo frames as mono PCM in pieces of 20 ms."""

    def __init__(self, rate_hz: int) -> None:
        self._resampler: av.AudioResampler | None = None
        if rate_hz != CLOCK_HZ:
            size = rate_hz // FRAMES_A_SECOND
            self._resampler = av.AudioResampler("s16", "mono", rate_hz, frame_size=size)

    def cut(self, frame: av.AudioFrame) -> list[tuple[bytes, int]]:
        """Return the pieces that are complete, with their RTP times."""
        if self._resampler is None:
            return [(frame.to_ndarray().reshape(-1)[::2].tobytes(), _rtp_time(frame))]
        pieces = self._resampler.resample(frame)
        return [(piece.to_ndarray().tobytes(), _rtp_time(piece)) for piece in pieces]


def _rtp_time(frame: av.AudioFrame) -> int:
    """The RTP time of a frame: its time stamp, in ticks of its own rate."""
    return (frame.pts or 0) * CLOCK_HZ // frame.sample_rate & 0xFFFF_FFFF


async def main(http_port: int, target: str, format_name: str) -> None:
    """Serve until SIGTERM, or until the backend is gone."""
    audio_format, rate_hz = FORMATS[format_name]
    backend = Backend(target, audio_format)
    server = Server(backend, rate_hz)
    app = web.Application()
    app.router.add_post("/v1/realtime/calls", server.create)
    app.router.add_post("/v1/realtime/calls/{call_id}/hangup", server.hang_up)
    runner = web.AppRunner(app)
    await runner.setup()
    carrying = asyncio.create_task(backend.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, carrying.cancel)
    try:
        await web.TCPSite(runner, "127.0.0.1", http_port).start()
        with suppress(asyncio.CancelledError):
            await carrying
    finally:
        await server.close()
        await backend.close()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
