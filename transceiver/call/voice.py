"""The sound of one call as its backend has it: format, credit, and what was played.

    AudioStream ── frames ──▶ [PcmVoice] ──▶ CallHandle ──▶ backend
    AudioStream ◀── frames, encoded as paced ── put ◀────── backend
                 └─ credit, playout, network ─▶ CallHandle

A frame is Opus on both sides, untouched; a backend that wants PCM gets a `PcmVoice` in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from transceiver.call.offer import AudioOffer
from transceiver.call.pcm_voice import RATES_HZ, PcmVoice, backend_wishes, is_quiet
from transceiver.call.unheard import Hearer
from transceiver.counters import Counted
from transceiver.link.call_handle import CallHandle
from transceiver.opus import open_codec
from transceiver.rtp import opus
from transceiver.rtp.audio import AudioStream
from transceiver.rtp.ear_since import EarSince
from transceiver.rtp.receive import Frame
from transceiver.rtp.send import Playout
from trunkline.v1 import model_pb2

# Frames a backend may queue here at once: 5 s of 20 ms. The queue holds a few more, because a
# frame that is on its way when the credit is counted must not be refused.
SEND_CREDIT = 250
CREDIT_LOT = 25  # credit goes back in lots: an event for every frame would double the traffic

log = structlog.get_logger(__name__)


class CallVoice:
    """Between the stream and the link. `count` takes reasons by fixed words.

    `handle` is the call on the link, the session's; None: nobody listens.
    """

    def __init__(
        self, call_id: str, offer: AudioOffer, stream: AudioStream, count: Callable[[str], None]
    ) -> None:
        self.audio_format = 0
        self._call_id = call_id
        self._offer = offer
        self._stream = stream
        self._sender = stream.sender
        self._count = count
        self._pcm: PcmVoice | None = None  # None: the backend speaks Opus
        self.ear = EarSince(self._sender)
        self._credited = 0
        self._offered = SEND_CREDIT
        self._told_talkspurts = 0

    @property
    def malformed(self) -> int:
        """Packets of the caller that were no Opus, as the decoder found."""
        return self._pcm.malformed if self._pcm is not None else 0

    def speak(self, audio_format: int) -> None:
        """Put a codec in between, for a backend that wants PCM."""
        self.audio_format = audio_format
        rate_hz = RATES_HZ.get(audio_format)
        if rate_hz is None:
            return
        self._pcm = PcmVoice(open_codec(), rate_hz, self._offer.wishes)
        self._stream.fill_holes()
        self._sender.encoded_by(self._pcm.encode, self._pcm.max_frame_bytes, is_quiet)

    def write_as(self, encoder: model_pb2.OpusEncoder) -> None:
        """Write the backend's PCM as it asks; of no meaning for one that speaks Opus."""
        try:
            wishes = backend_wishes(encoder)
        except ValueError as error:
            self._count(Counted.ENCODER_REFUSED)
            log.warning("encoder_refused", call_id=self._call_id, reason=str(error))
            return
        if self._pcm is not None:
            self._pcm.write_as(wishes)

    def hear(self, frames: Iterable[Frame], hearer: Hearer | None) -> None:
        """Hand frames of the caller to the backend, or to who holds them for the next."""
        if hearer is None:
            return
        if self._pcm is not None:
            for sound in self._pcm.hear(frames):
                hearer.send_audio(*sound)
            return
        for payload, timestamp, lost, _, _ in frames:
            duration = opus.duration(payload)
            if duration:
                hearer.send_audio(payload, timestamp, duration, lost)
            else:
                self._count(Counted.OPUS_MALFORMED)

    def put(self, payload: bytes, duration: int, now: float) -> None:
        """Queue a frame of the backend; its own word on `duration` counts for Opus only."""
        if self._pcm is not None:
            duration = self._pcm.duration(payload)
        if not self._offer.receives:
            self._sender.refused += 1
            self._count(Counted.AUDIO_NOT_WANTED)
        elif not self._sender.push(payload, duration, now):
            self._count(Counted.AUDIO_REFUSED)

    def clear(self, handle: CallHandle | None) -> None:
        """Forget queued frames, and say how far the caller heard."""
        self.ear.clear()
        if handle is not None:
            self._give_credit(handle)
            self._tell_playout(handle)

    def played(self, handle: CallHandle | None) -> None:
        """Frames left, perhaps: what the backend is to know of it."""
        talkspurts, told = self._sender.talkspurts, self._told_talkspurts
        self._told_talkspurts = talkspurts
        if handle is None:
            return
        if talkspurts != told:
            self._tell_network(handle)
            self._tell_playout(handle)  # the backend learns when its answer began to leave
        self._give_credit(handle)

    def reported(self, handle: CallHandle | None, *, moved: bool) -> None:
        """A report of the caller came; `moved`: the played-out position did."""
        if self._pcm is not None:
            self._pcm.expect_loss(self._sender.redundancy.loss_percent)
        if handle is None:
            return
        self._tell_network(handle)
        if moved:
            self._tell_playout(handle)

    def credit_anew(self) -> None:
        """A resumed call: its backend's credit begins anew, so what is queued is not given back."""
        self._credited = self._sender.used + len(self._sender)

    def offer_credit(self) -> int:
        """How many frames another backend may queue now, behind those that wait.

        The rest comes back to it as those are played.
        """
        self._offered = max(0, SEND_CREDIT - len(self._sender))
        return self._offered

    def begin_anew(self) -> None:
        """Another backend has the call, with the credit offered: its frames count from 0.

        What is queued is still played.
        """
        self.ear = EarSince.now(self._sender)
        self._credited = self.ear.given - (SEND_CREDIT - self._offered)

    def carry_on(self, told: model_pb2.Playout, handle: CallHandle | None) -> None:
        """The backend goes on with a resumed call, from where it knows the caller's ear to be."""
        self.ear.carry_on(told.sent_frames, told.acked_frames, told.cleared_frames)
        self._credited = self.ear.given + told.sent_frames + told.cleared_frames
        if handle is not None:
            self._give_credit(handle)
            self._tell_playout(handle)

    def playout(self) -> Playout:
        """How far the caller's ear is, in frames of the backend that has, or had, the call."""
        return self.ear.playout()

    def _give_credit(self, handle: CallHandle) -> None:
        """Give credit back for frames that no longer wait, a lot at a time."""
        owed = self._sender.used - self._credited
        if owed >= CREDIT_LOT:
            self._credited += owed
            handle.give_credit(owed)

    def _tell_playout(self, handle: CallHandle) -> None:
        handle.send_playout(*self.playout())

    def _tell_network(self, handle: CallHandle) -> None:
        """What the caller's network and our buffer cost."""
        stream = self._stream
        handle.send_network(stream.round_trip_s, stream.received, stream.waited_s)
