"""libopus called directly: every rate, concealment, in-band FEC, all controls.

A decoder or encoder is one block of memory, as the library allows (`opus_decoder_init`), so it is
freed with its Python object and there is nothing to close.
"""

from __future__ import annotations

import ctypes

from transceiver.opus.codec import SAMPLE_BYTES, check_rate, duration, samples
from transceiver.opus.libopus import MAX_SAMPLES, Libopus
from transceiver.opus.settings import MAX_LOSS_PERCENT, EncoderSettings
from transceiver.rtp.opus import MAX_PACKET_BYTES

_MONO = 1
_VOIP = 2048  # OPUS_APPLICATION_VOIP
_SET_BITRATE, _SET_MAX_BANDWIDTH, _SET_COMPLEXITY = 4002, 4004, 4010
_SET_INBAND_FEC, _SET_PACKET_LOSS_PERC, _SET_DTX, _SET_SIGNAL = 4012, 4014, 4016, 4024
_SIGNAL_VOICE = 3001
# OPUS_BANDWIDTH_…, by the rate that still hears all of it.
_BANDWIDTHS = ((8_000, 1101), (12_000, 1102), (16_000, 1103), (24_000, 1104), (48_000, 1105))


class DirectCodec:
    """A `Codec` over a loaded library."""

    def __init__(self, library: Libopus) -> None:
        self.name = library.version
        self._library = library

    def decoder(self, rate_hz: int) -> DirectDecoder:
        """A fresh decoder. Raises ValueError for a rate that Opus does not have."""
        return DirectDecoder(self._library, check_rate(rate_hz))

    def encoder(self, settings: EncoderSettings) -> DirectEncoder:
        """A fresh encoder. Raises ValueError for a rate that Opus does not have."""
        check_rate(settings.rate_hz)
        return DirectEncoder(self._library, settings)


class DirectDecoder:
    """A `Decoder`: 18 to 26 KB of state."""

    __slots__ = ("_at", "_library", "_rate_hz", "_state")

    def __init__(self, library: Libopus, rate_hz: int) -> None:
        self._library = library
        self._rate_hz = rate_hz
        self._state = ctypes.create_string_buffer(library.decoder_bytes)
        self._at = ctypes.addressof(self._state)
        _must(library.decoder_init(self._at, rate_hz, _MONO))

    def decode(self, packet: bytes) -> bytes:
        """The sound of a packet; b"" when it is no Opus packet."""
        # An empty packet means "lost" to the library.
        return self._run(packet, MAX_SAMPLES, 0) if packet else b""

    def recover(self, following: bytes, duration: int) -> bytes:
        """The sound of the packet before `following`."""
        sound = self._run(following, samples(duration, self._rate_hz), 1) if following else b""
        return sound or self.conceal(duration)

    def conceal(self, duration: int) -> bytes:
        """Sound for `duration` ticks of nothing."""
        return self._run(None, samples(duration, self._rate_hz), 0)

    def _run(self, packet: bytes | None, frame_samples: int, fec: int) -> bytes:
        library = self._library
        size = 0 if packet is None else len(packet)
        count = library.decode(self._at, packet, size, library.scratch_at, frame_samples, fec)
        return bytes(library.scratch[: count * SAMPLE_BYTES]) if count > 0 else b""


class DirectEncoder:
    """An `Encoder`: mono, for speech; 30 to 50 KB of state."""

    __slots__ = ("_at", "_library", "_rate_hz", "_state")

    def __init__(self, library: Libopus, settings: EncoderSettings) -> None:
        self._library = library
        self._rate_hz = settings.rate_hz
        self._state = ctypes.create_string_buffer(library.encoder_bytes)
        self._at = ctypes.addressof(self._state)
        _must(library.encoder_init(self._at, settings.rate_hz, _MONO, _VOIP))
        self._set(_SET_SIGNAL, _SIGNAL_VOICE)
        self._set(_SET_BITRATE, settings.bitrate_bps)
        self._set(_SET_COMPLEXITY, settings.complexity)
        self._set(_SET_INBAND_FEC, int(settings.fec))
        self._set(_SET_DTX, int(settings.dtx))
        self._set(_SET_MAX_BANDWIDTH, _bandwidth(settings.max_playback_hz))
        self.expect_loss(settings.loss_percent)

    def encode(self, pcm: bytes) -> bytes:
        """The packet for one frame. Raises ValueError for a length that Opus has no frame of."""
        if not duration(pcm, self._rate_hz):
            raise ValueError(f"{len(pcm)} bytes at {self._rate_hz} Hz are no Opus frame")
        library = self._library
        count = len(pcm) // SAMPLE_BYTES
        size = _must(library.encode(self._at, pcm, count, library.scratch_at, MAX_PACKET_BYTES))
        return bytes(library.scratch[:size])

    def expect_loss(self, percent: int) -> None:
        """Measure in-band FEC out for that loss."""
        self._set(_SET_PACKET_LOSS_PERC, max(0, min(percent, MAX_LOSS_PERCENT)))

    def _set(self, request: int, value: int) -> None:
        _must(self._library.encoder_ctl(self._at, request, value))


def _bandwidth(max_playback_hz: int) -> int:
    fitting = [bandwidth for rate_hz, bandwidth in _BANDWIDTHS if rate_hz <= max_playback_hz]
    return fitting[-1] if fitting else _BANDWIDTHS[0][1]


def _must(result: int) -> int:
    # Only a value of ours that the library does not know can get here, never a packet.
    if result < 0:
        raise ValueError(f"libopus says {result}")
    return result
