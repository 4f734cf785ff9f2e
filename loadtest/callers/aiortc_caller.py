"""One call by a stock aiortc client, as any Python user would place it."""

from __future__ import annotations

import asyncio
import fractions
import json
import math
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from loadtest import sound
from loadtest.errors import CallFailedError
from loadtest.recording import Recording
from loadtest.signaling import Answer, hang_up, post_offer
from loadtest.sound import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from loadtest.target import Target

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
EVENTS_CHANNEL = "oai-events"
LEAD_S = 0.5
"""Before the speech: a soft tone, so that the first audio back can be told from silence."""
TAIL_S = 0.3
AUDIBLE_PEAK = 200  # −44 dBFS: above what a codec makes of silence, below the lead-in tone
ECHO_PATIENCE_S = 2.0
"""How long after the last word to wait for the end of its echo."""
FIRST_PACKET_POLL_S = 0.005
"""Stock aiortc has no event for a received packet; this is the error of `setup_ms`."""


@dataclass
class CallRecord:
    """What one call saw; times in ms since the offer was sent, None where it did not come so far.

    `lost` counts RTP packets of both directions.
    """

    recording: Recording
    failure: str | None = None
    setup_ms: float | None = None
    first_audio_ms: float | None = None
    rtt_ms: float | None = None
    message_rtt_ms: float | None = None
    lost: int = 0


def utterance(speech: Samples) -> Samples:
    """Return what a caller sends: a soft lead-in tone, the speech, a silent end."""
    lead = sound.tone(LEAD_S - 0.1, frequency_hz=400, peak=1000)
    return np.concatenate([lead, sound.silence(0.1), speech, sound.silence(TAIL_S)])


class SpeechTrack(MediaStreamTrack):
    """Plays a sound once in real time, then silence; `said` is set after the last frame of it.

    Frames leave at `phase_s` after whole multiples of 20 ms: calls of one process that all sent at
    the same moment would hold each other up, and that would be measured as the target's jitter.
    """

    kind = "audio"

    def __init__(self, samples: Samples, phase_s: float) -> None:
        super().__init__()
        self._phase_s = phase_s
        self.spoken = asyncio.Event()
        self._frames = iter(sound.in_frames(samples))
        self._sent = 0
        self._started_at: float | None = None

    async def recv(self) -> av.AudioFrame:
        """Return the next frame when its time has come."""
        loop = asyncio.get_running_loop()
        if self._started_at is None:
            whole_frames = math.ceil(loop.time() / FRAME_S)
            self._started_at = whole_frames * FRAME_S + self._phase_s
        await asyncio.sleep(self._started_at + self._sent * FRAME_S - loop.time())
        frame = _as_av(self._next(), self._sent * FRAME_SAMPLES)
        self._sent += 1
        return frame

    def _next(self) -> Samples:
        frame = next(self._frames, None)
        if frame is None:
            self.spoken.set()
            return np.zeros(FRAME_SAMPLES, dtype=np.int16)
        return frame


def _as_av(samples: Samples, time: int) -> av.AudioFrame:
    # Both channels alike: aiortc makes stereo of mono with 3 dB less on each side.
    packed = np.repeat(samples, 2).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = time
    frame.time_base = fractions.Fraction(1, SAMPLE_RATE_HZ)
    return frame


class AiortcCaller:
    """One call from offer to hang-up. `place()` never raises for a failed call: it records it."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        speech: Samples,
        timeout_s: float,
        phase_s: float = 0.0,
    ) -> None:
        self._session = session
        self._target = target
        self._speech = speech
        self._timeout_s = timeout_s
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._track = SpeechTrack(speech, phase_s)
        self._heard_all = asyncio.Event()
        self._message_back = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._posted_at = 0.0
        self._answer: Answer | None = None
        self._step = "offer"
        length_s = len(speech) / SAMPLE_RATE_HZ
        self.record = CallRecord(Recording(max_s=length_s + 2 * ECHO_PATIENCE_S))

    async def place(self) -> CallRecord:
        """Run the whole call and return what it saw."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._call()
        except CallFailedError as error:
            self.record.failure = error.reason
        except TimeoutError:
            self.record.failure = f"timeout_{self._step}"
        finally:
            await self._hang_up()
            await self._close()
        return self.record

    async def _call(self) -> None:
        await self._connect()
        self._step = "first_packet"
        await self._first_packet()
        self._step = "speech"
        await self._track.spoken.wait()
        self._step = "message"
        await self._message_back.wait()
        with suppress(TimeoutError):  # what is missing then is for the comparison to tell
            await asyncio.wait_for(self._heard_all.wait(), ECHO_PATIENCE_S)
        await self._read_statistics()

    async def _hang_up(self) -> None:
        """End the call that was answered; what failed first stays the reason of a failed call."""
        if self._answer is None:
            return
        try:
            await hang_up(self._session, self._target, self._answer)
        except CallFailedError as error:
            self.record.failure = self.record.failure or error.reason

    async def _connect(self) -> None:
        peer = self._peer
        peer.addTrack(self._track)
        peer.on("track", self._on_track)
        self._open_channel(peer.createDataChannel(EVENTS_CHANNEL))
        await peer.setLocalDescription(await peer.createOffer())
        self._step = "answer"
        self._posted_at = time.monotonic()
        offer = peer.localDescription.sdp
        self._answer = answer = await post_offer(self._session, self._target, offer)
        try:
            await peer.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        except ValueError as error:
            raise CallFailedError("bad_answer") from error

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._tasks.append(asyncio.create_task(self._listen(track)))

    def _open_channel(self, channel: RTCDataChannel) -> None:
        text = json.dumps({"type": "loadtest.ping", "event_id": uuid.uuid4().hex})
        sent_at = 0.0

        def send() -> None:
            nonlocal sent_at
            sent_at = time.monotonic()
            channel.send(text)

        def receive(message: str | bytes) -> None:
            if message == text and not self._message_back.is_set():
                self.record.message_rtt_ms = 1000 * (time.monotonic() - sent_at)
                self._message_back.set()

        channel.on("open", send)
        channel.on("message", receive)

    async def _first_packet(self) -> None:
        [receiver] = self._peer.getReceivers()
        while not receiver.getSynchronizationSources():
            if self._peer.connectionState in ("failed", "closed"):
                raise CallFailedError("not_connected")
            await asyncio.sleep(FIRST_PACKET_POLL_S)
        self.record.setup_ms = self._since_post_ms()

    async def _listen(self, track: MediaStreamTrack) -> None:
        """Keep what comes; the copy is all that is done while the call runs."""
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if isinstance(frame, av.AudioFrame):
                    self._keep(frame.pts or 0, _as_mono(frame))

    def _keep(self, timestamp: int, samples: Samples) -> None:
        record = self.record
        if record.first_audio_ms is None and np.abs(samples).max() > AUDIBLE_PEAK:
            record.first_audio_ms = self._since_post_ms()
        record.recording.add(timestamp, samples)
        if record.recording.length_samples >= len(self._speech):
            self._heard_all.set()

    def _since_post_ms(self) -> float:
        return 1000 * (time.monotonic() - self._posted_at)

    async def _read_statistics(self) -> None:
        for report in (await self._peer.getStats()).values():
            if report.type in ("inbound-rtp", "remote-inbound-rtp"):
                self.record.lost += max(report.packetsLost, 0)
            if report.type == "remote-inbound-rtp" and report.roundTripTime is not None:
                self.record.rtt_ms = 1000 * report.roundTripTime

    async def _close(self) -> None:
        await self._peer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _as_mono(frame: av.AudioFrame) -> Samples:
    """Return the first channel of packed s16 samples; both are alike, as they were sent."""
    first = frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)]
    return first.astype(np.int16)  # a copy: the whole frame is not kept
