"""A caller on Chrome's own engine (libwebrtc, by the wheel `wrtc`): no line of it is ours.

It talks in real time through a running stack and keeps what it hears; ICE, DTLS, SRTP, Opus, the
jitter buffer and SCTP are libwebrtc's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import webrtc

from loadtest.signaling import Answer, hang_up, post_offer
from loadtest.sound import SAMPLE_RATE_HZ, Samples
from loadtest.target import Target

EVENTS = "oai-events"
BLOCK_SAMPLES = SAMPLE_RATE_HZ // 100  # libwebrtc takes and gives sound in blocks of 10 ms
BLOCK_S = 0.01
TIMEOUT_S = 15.0

webrtc.allow_loopback()  # before the first connection of the process


@dataclass
class LibwebrtcCaller:
    """One call: `connect`, then `talk` and `message`, then `close`, whatever happened."""

    http: aiohttp.ClientSession
    target: Target
    messages: list[str | bytes] = field(default_factory=list)
    _blocks: list[Samples] = field(default_factory=list)
    _answer: Answer | None = None
    _listening: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._peer = webrtc.RTCPeerConnection()
        self._voice = webrtc.MediaStreamTrackGenerator("audio")
        self._peer.add_track(self._voice)
        self._channel = self._peer.create_data_channel(EVENTS)
        self._opened, self._gathered, self._told = (asyncio.Event() for _ in range(3))
        self._channel.on("open", lambda _: self._opened.set())
        self._channel.on("message", lambda event: self._on_message(event.data))  # type: ignore[call-overload]
        self._peer.on("track", lambda event: self._on_track(event.track))
        self._peer.on("icegatheringstatechange", lambda _: self._on_gathering())

    @property
    def heard(self) -> Samples:
        """All that was played to the caller so far."""
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)

    async def connect(self) -> None:
        """Place the call; returns when its data channel is open."""
        async with asyncio.timeout(TIMEOUT_S):
            await self._peer.set_local_description(await self._peer.create_offer())
            await self._gathered.wait()
            offer = self._peer.local_description
            assert offer is not None
            answer = webrtc.RTCSessionDescriptionInit("answer", await self.place(offer.sdp))
            await self._peer.set_remote_description(answer)
            await self._opened.wait()

    async def place(self, offer_sdp: str) -> str:
        """The answer to an offer, by HTTP."""
        self._answer = await post_offer(self.http, self.target, offer_sdp)
        return self._answer.sdp

    async def talk(self, speech: Samples) -> None:
        """Speak in real time; returns when the last block is with the engine."""
        loop, writer = asyncio.get_running_loop(), self._voice.writable.get_writer()
        started_s = loop.time()
        for number in range(len(speech) // BLOCK_SAMPLES):
            await asyncio.sleep(started_s + number * BLOCK_S - loop.time())
            block = speech[number * BLOCK_SAMPLES :][:BLOCK_SAMPLES]
            await writer.write(_audio_data(block, number))
        writer.release_lock()

    async def message(self, text: str) -> None:
        """Send a text and wait until it comes back."""
        self.send(text)
        await self.until(lambda: text in self.messages)

    def send(self, text: str) -> None:
        """Send a text."""
        self._channel.send(text)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to hold of `messages`."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self._told.clear()
                await self._told.wait()

    async def statistics(self) -> dict[str, Any]:
        """The figures of libwebrtc's `getStats` by their type; the last of a type."""
        return {report.type.value: report for report in (await self._peer.get_stats()).values()}  # type: ignore[union-attr]

    async def close(self) -> None:
        """Hang up, and let everything of libwebrtc go."""
        if self._answer is not None:
            await hang_up(self.http, self.target, self._answer)
        self._peer.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    def _on_gathering(self) -> None:
        if self._peer.ice_gathering_state == "complete":
            self._gathered.set()

    def _on_message(self, content: str | bytes) -> None:
        self.messages.append(content)
        self._told.set()

    def _on_track(self, track: webrtc.MediaStreamTrack) -> None:
        self._listening = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: webrtc.MediaStreamTrack) -> None:
        init = webrtc.MediaStreamTrackProcessorInit(track)
        async for block in webrtc.MediaStreamTrackProcessor(init).readable:
            self._blocks.append(_samples(block))
            block.close()


def _audio_data(block: Samples, number: int) -> webrtc.AudioData:
    return webrtc.AudioData(
        webrtc.AudioDataInit(
            format="s16",
            sample_rate=SAMPLE_RATE_HZ,
            number_of_frames=len(block),
            number_of_channels=1,
            timestamp=number * 10_000,
            data=block.tobytes(),
        )
    )


def _samples(block: Any) -> Samples:
    """The first channel of an AudioData: interleaved 16-bit, as a track gives it."""
    options = webrtc.AudioDataCopyToOptions(plane_index=0)
    content = bytearray(block.allocation_size(options))
    block.copy_to(content, options)
    return np.frombuffer(bytes(content), "<i2")[:: block.number_of_channels]
