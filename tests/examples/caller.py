"""A stock aiortc client that speaks, writes on its data channel, and keeps what it hears."""

from __future__ import annotations

import asyncio
import fractions
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from launcher import Stack

RATE_HZ = 48_000
FRAME = 960
TIMEOUT_S = 120.0


class Voice(MediaStreamTrack):
    """Plays samples once in real time, then silence."""

    kind = "audio"

    def __init__(self, samples: np.ndarray) -> None:
        super().__init__()
        self._samples = samples
        self.frames = 0

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        if not self.frames:
            self._began = loop.time()
        await asyncio.sleep(self._began + self.frames * 0.02 - loop.time())
        chunk = self._samples[self.frames * FRAME :][:FRAME]
        mono = np.pad(chunk, (0, FRAME - len(chunk))).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(mono.repeat(2)[None, :], "s16", "stereo")
        frame.sample_rate, frame.pts = RATE_HZ, self.frames * FRAME
        frame.time_base = fractions.Fraction(1, RATE_HZ)
        self.frames += 1
        return frame


class Caller:
    """A call on a stack."""

    def __init__(self, speech: np.ndarray) -> None:
        self.voice = Voice(speech)
        self.messages: list[str] = []
        self.said_frames_at_first_sound = 0
        self._heard: list[np.ndarray] = []
        self._news = asyncio.Event()
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.addTrack(self.voice)
        self._peer.on("track", self._on_track)
        self._peer.on("connectionstatechange", self._news.set)
        self.channel = self._peer.createDataChannel("chat")
        self.channel.on("open", self._news.set)
        self.channel.on("message", self._on_message)
        self._listening: asyncio.Task[None] | None = None

    @property
    def heard(self) -> np.ndarray:
        """All that came, mono, 48 kHz."""
        return np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)

    @property
    def state(self) -> str:
        """Of the peer connection."""
        return self._peer.connectionState

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when it holds; looked at whenever something is heard or happens."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def connect(self, url: str, key: str, session: aiohttp.ClientSession) -> None:
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await session.post(
            f"{url}/v1/realtime/calls",
            data=self._peer.localDescription.sdp,
            headers={
                "Content-Type": "application/sdp",
                "Authorization": f"Bearer {key}",
            },
        )
        text = await answer.text()
        assert answer.status == 201, text
        await self._peer.setRemoteDescription(RTCSessionDescription(text, "answer"))

    async def close(self) -> None:
        await self._peer.close()
        if self._listening:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.create_task(self._listen(track))

    def _on_message(self, message: str) -> None:
        self.messages.append(message)
        self._news.set()

    async def _listen(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.AudioFrame)
                channels = len(frame.layout.channels)
                self._keep(frame.to_ndarray().reshape(-1)[::channels].astype(np.int16))
        except MediaStreamError:
            pass

    def _keep(self, samples: np.ndarray) -> None:
        if not self._heard:
            self.said_frames_at_first_sound = self.voice.frames
        self._heard.append(samples)
        self._news.set()


@asynccontextmanager
async def calling(
    stack: Stack, speech: np.ndarray, caller: Caller | None = None
) -> AsyncIterator[Caller]:
    """A call for the length of the block."""
    caller = caller or Caller(speech)
    async with aiohttp.ClientSession() as session:
        try:
            await caller.connect(stack.console_url, stack.api_key, session)
            yield caller
        finally:
            await caller.close()


def tone(seconds: float, frequency_hz: float = 400, peak: int = 8000) -> np.ndarray:
    """A sine at 48 kHz."""
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (peak * np.sin(2 * np.pi * frequency_hz * times)).astype(np.int16)


def pitch_hz(samples: np.ndarray) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE_HZ / len(samples))
