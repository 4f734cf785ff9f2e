"""Turns a call's Opus into a backend's PCM and back, 20 ms at a time.

    jitter buffer ── packets, holes named ─▶ decoder ─▶ cut into 20 ms ─▶ model link
    RTP           ◀── one packet a frame ◀── encoder ◀────────────────── model link, as paced

Signed 16-bit little-endian mono both ways. A backend's frame becomes one packet, so it must be as
long as an Opus frame (2.5, 5, 10, 20, 40 or 60 ms), and what it says was played stays countable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from transceiver.call.offer import OpusWishes
from transceiver.opus import BackendWishes, Codec, EncoderSettings
from transceiver.opus.codec import FRAME_DURATIONS, SAMPLE_BYTES, duration, samples
from transceiver.rtp.opus import DTX_BYTES
from transceiver.rtp.receive import Frame, Origin
from trunkline.v1 import model_pb2

FRAME = 960  # ticks of what a backend hears at a time
QUIET_PEAK = 328  # a hundredth of full scale: the noise of a quiet room

RATES_HZ: dict[int, int] = {
    model_pb2.AUDIO_FORMAT_PCM16_8000: 8_000,
    model_pb2.AUDIO_FORMAT_PCM16_16000: 16_000,
    model_pb2.AUDIO_FORMAT_PCM16_24000: 24_000,
    model_pb2.AUDIO_FORMAT_PCM16_48000: 48_000,
}


def choose_format(accepts: Iterable[int]) -> int:
    """The backend's first choice that we have; Opus for a backend that names none.

    0 (unspecified) when it names only formats we do not know.
    """
    choices = tuple(accepts) or (model_pb2.AUDIO_FORMAT_OPUS,)
    known = {model_pb2.AUDIO_FORMAT_OPUS, *RATES_HZ}
    return next((choice for choice in choices if choice in known), 0)


def backend_wishes(encoder: model_pb2.OpusEncoder) -> BackendWishes:
    """What the message asks for. Raises ValueError, naming the field that is out of range."""
    return BackendWishes(
        bitrate_bps=encoder.bitrate_bps if encoder.HasField("bitrate_bps") else None,
        complexity=encoder.complexity if encoder.HasField("complexity") else None,
        fec=encoder.fec if encoder.HasField("fec") else None,
        dtx=encoder.dtx if encoder.HasField("dtx") else None,
    )


def is_quiet(pcm: bytes) -> bool:
    """Whether a frame holds no voice; one sample in eight is looked at."""
    some = np.frombuffer(pcm, "<i2")[::8].astype(np.int32)
    return bool(np.abs(some).max() < QUIET_PEAK)


class Sound(NamedTuple):
    """What a backend hears: PCM, its RTP time and length in 48 kHz ticks, packets lost before."""

    pcm: bytes
    rtp_time: int
    duration: int
    lost: int


class PcmVoice:
    """Both directions of one call at `rate_hz`. Raises ValueError for a rate Opus does not have."""

    def __init__(self, codec: Codec, rate_hz: int, wishes: OpusWishes) -> None:
        self.malformed = 0  # packets that were no Opus
        self.max_frame_bytes = samples(FRAME_DURATIONS[-1], rate_hz) * SAMPLE_BYTES
        self._rate_hz = rate_hz
        self._decoder = codec.decoder(rate_hz)
        self._codec, self._caller = codec, wishes
        self._encoder = codec.encoder(EncoderSettings.speech(rate_hz, wishes))
        self._frame_bytes = samples(FRAME, rate_hz) * SAMPLE_BYTES
        self._resting = False  # the decoder is in a DTX pause
        self._rest = b""  # less than a frame, kept for the next
        self._rest_time = 0  # its RTP time
        self._lost = 0  # to tell with the next frame

    def write_as(self, backend: BackendWishes) -> None:
        """Encode as the backend asks from here on; what it says comes before its first frame."""
        settings = EncoderSettings.speech(self._rate_hz, self._caller, backend)
        self._encoder = self._codec.encoder(settings)

    def hear(self, frames: Iterable[Frame]) -> list[Sound]:
        """The sound of the jitter buffer's frames."""
        sounds: list[Sound] = []
        for frame in frames:
            self._lost += frame.lost
            pcm = self._decode(frame)
            if len(pcm) == self._frame_bytes and not self._rest:
                sounds.append(self._sound(pcm, frame.timestamp))
            else:
                sounds += self._cut(pcm, frame.timestamp)
        return sounds

    def duration(self, pcm: bytes) -> int:
        """How long a backend's frame plays, in 48 kHz ticks; 0 if no packet can be made of it."""
        return duration(pcm, self._rate_hz)

    def encode(self, pcm: bytes) -> bytes:
        """The packet for a frame that `duration` has a length for."""
        return self._encoder.encode(pcm)

    def expect_loss(self, percent: int) -> None:
        """What the caller's reports say, for the in-band FEC."""
        self._encoder.expect_loss(percent)

    def _decode(self, frame: Frame) -> bytes:
        if frame.origin is Origin.PACKET:
            return self._decode_packet(frame)
        if frame.origin is Origin.FEC:
            return self._decoder.recover(frame.payload, frame.duration)
        if frame.origin is Origin.CONCEALED or self._resting:
            return self._decoder.conceal(frame.duration)
        return bytes(samples(frame.duration, self._rate_hz) * SAMPLE_BYTES)

    def _decode_packet(self, frame: Frame) -> bytes:
        self._resting = len(frame.payload) <= DTX_BYTES
        pcm = self._decoder.decode(frame.payload)
        if pcm:
            return pcm
        self.malformed += 1
        return self._decoder.conceal(frame.duration)

    def _cut(self, pcm: bytes, rtp_time: int) -> list[Sound]:
        """Whole frames of what was kept and what came; the rest is kept."""
        sounds: list[Sound] = []
        if self._rest and self._after_rest() != rtp_time:  # a gap: what is kept stands alone
            sounds.append(self._sound(self._rest, self._rest_time))
            self._rest = b""
        if not self._rest:
            self._rest_time = rtp_time
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % self._frame_bytes
        for start in range(0, whole, self._frame_bytes):
            sounds.append(self._sound(pcm[start : start + self._frame_bytes], self._rest_time))
            self._rest_time = (self._rest_time + FRAME) & 0xFFFF_FFFF
        self._rest = pcm[whole:]
        return sounds

    def _after_rest(self) -> int:
        return (self._rest_time + self._ticks(self._rest)) & 0xFFFF_FFFF

    def _sound(self, pcm: bytes, rtp_time: int) -> Sound:
        lost, self._lost = self._lost, 0
        return Sound(pcm, rtp_time, self._ticks(pcm), lost)

    def _ticks(self, pcm: bytes) -> int:
        return len(pcm) * 48_000 // (SAMPLE_BYTES * self._rate_hz)
