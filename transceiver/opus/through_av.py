"""Opus by PyAV, for a machine without libopus.

FFmpeg decodes to 48 kHz stereo, so its resampler stands behind it; it has no call for concealment
or FEC, so a loss is silence. Encoding is libopus as well, one context for each frame length.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError

from transceiver.opus.codec import SAMPLE_BYTES, check_rate, duration, samples
from transceiver.opus.settings import EncoderSettings


class AvCodec:
    """A `Codec` over PyAV."""

    name = "PyAV"

    def decoder(self, rate_hz: int) -> AvDecoder:
        """A fresh decoder. Raises ValueError for a rate that Opus does not have."""
        return AvDecoder(check_rate(rate_hz))

    def encoder(self, settings: EncoderSettings) -> AvEncoder:
        """A fresh encoder. Raises ValueError for a rate that Opus does not have."""
        check_rate(settings.rate_hz)
        return AvEncoder(settings)


class AvDecoder:
    """A `Decoder` whose concealment is silence.

    The resampler holds a few samples back; they are made up for with silence before the first
    frame, so that every packet gives sound of its own length.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._context = av.CodecContext.create("libopus", "r")
        self._context.sample_rate = 48_000
        self._context.layout = "stereo"
        # One thread: PyAV's default starts several for each context, and costs twice the time.
        self._context.thread_count = 1
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        self._rest = b""

    def decode(self, packet: bytes) -> bytes:
        """The sound of a packet; b"" when it is no Opus packet."""
        if not packet:
            return b""
        try:
            frames = self._context.decode(av.Packet(packet))
        except FFmpegError:
            return b""
        ticks = sum(frame.samples for frame in frames)
        sound = b"".join(self._resample(frame) for frame in frames)
        return self._exactly(sound, samples(ticks, self._rate_hz) * SAMPLE_BYTES)

    def recover(self, following: bytes, duration: int) -> bytes:
        """Silence: FFmpeg has no FEC call."""
        return self.conceal(duration)

    def conceal(self, duration: int) -> bytes:
        """Silence."""
        return bytes(SAMPLE_BYTES * samples(duration, self._rate_hz))

    def _resample(self, frame: Any) -> bytes:
        frame.pts = None
        parts = self._resampler.resample(frame)
        return b"".join(bytes(part.planes[0])[: part.samples * SAMPLE_BYTES] for part in parts)

    def _exactly(self, sound: bytes, size_bytes: int) -> bytes:
        sound = self._rest + sound
        if len(sound) < size_bytes:
            sound = bytes(size_bytes - len(sound)) + sound
        self._rest = sound[size_bytes:]
        return sound[:size_bytes]


class AvEncoder:
    """An `Encoder` over FFmpeg's libopus."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._contexts: dict[int, Any] = {}  # by frame length: at most six

    def encode(self, pcm: bytes) -> bytes:
        """The packet for one frame. Raises ValueError for a length that Opus has no frame of."""
        rate_hz = self._settings.rate_hz
        ticks = duration(pcm, rate_hz)
        if not ticks:
            raise ValueError(f"{len(pcm)} bytes at {rate_hz} Hz are no Opus frame")
        context = self._contexts.get(ticks)
        if context is None:
            context = self._contexts[ticks] = self._context(ticks)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // SAMPLE_BYTES)
        frame.planes[0].update(pcm)
        frame.sample_rate = rate_hz
        return b"".join(bytes(packet) for packet in context.encode(frame))

    def expect_loss(self, percent: int) -> None:
        """FFmpeg takes this at the start only, so nothing changes."""

    def _context(self, ticks: int) -> Any:
        settings = self._settings
        context: Any = av.CodecContext.create("libopus", "w")
        context.sample_rate = settings.rate_hz
        context.layout, context.format = "mono", "s16"
        context.bit_rate = settings.bitrate_bps
        context.time_base = Fraction(1, settings.rate_hz)
        context.thread_count = 1
        context.options = {
            "application": "voip",
            "frame_duration": str(ticks / 48),
            "compression_level": str(settings.complexity),
            "fec": str(int(settings.fec)),
            "packet_loss": str(settings.loss_percent),
        }
        return context
