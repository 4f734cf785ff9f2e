"""How an encoder is set: from our own defaults, and from what the caller's SDP asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transceiver.offer import OpusWishes

# RFC 7587 §3.1.1: the bit rates at which speech of that bandwidth is good, from the upper end.
_SPEECH_BPS = {8_000: 16_000, 16_000: 24_000, 24_000: 32_000, 48_000: 40_000}
SMALLEST_BPS, LARGEST_BPS = 6_000, 510_000  # RFC 7587 §6.1, maxaveragebitrate
# Measured on speech at 16 kHz, 24 kb/s: 66 to 82 µs a frame at complexity 1, 122 to 213 at 2 and
# 190 to 400 at 5, for a spectral distance of 5.9, 5.7 and 5.2 dB. The step from 1 is where calls
# per core would halve.
DEFAULT_COMPLEXITY = 1
MAX_LOSS_PERCENT = 30  # more only makes the speech itself poorer


@dataclass(frozen=True)
class EncoderSettings:
    """One mono encoder. `max_playback_hz` is the highest rate the listener can use."""

    rate_hz: int
    bitrate_bps: int
    complexity: int = DEFAULT_COMPLEXITY
    fec: bool = True
    dtx: bool = False
    loss_percent: int = 0
    max_playback_hz: int = 48_000

    @classmethod
    def speech(cls, rate_hz: int) -> EncoderSettings:
        """What suits speech of that rate. Raises KeyError for a rate Opus does not have."""
        return cls(rate_hz, _SPEECH_BPS[rate_hz])

    def wished(self, wishes: OpusWishes) -> EncoderSettings:
        """As the caller's `a=fmtp` asks (RFC 7587 §6.1). `stereo` asks nothing of a mono voice."""
        limit = wishes.max_average_bps or LARGEST_BPS
        return replace(
            self,
            bitrate_bps=max(SMALLEST_BPS, min(self.bitrate_bps, limit)),
            fec=wishes.fec,
            dtx=self.dtx or wishes.dtx,
            max_playback_hz=wishes.max_playback_hz,
        )
