"""How an encoder is set: our defaults, the backend's wishes, the limits of the caller's SDP."""

from __future__ import annotations

from dataclasses import dataclass

from transceiver.call.offer import OpusWishes

# RFC 7587 §3.1.1: the bit rates at which speech of that bandwidth is good, from the upper end.
_SPEECH_BPS = {8_000: 16_000, 16_000: 24_000, 24_000: 32_000, 48_000: 40_000}
SMALLEST_BPS, LARGEST_BPS = 6_000, 510_000  # RFC 7587 §6.1, maxaveragebitrate
# Measured on speech at 16 kHz, 24 kb/s: 66 to 82 µs a frame at complexity 1, 122 to 213 at 2 and
# 190 to 400 at 5, for a spectral distance of 5.9, 5.7 and 5.2 dB. The step from 1 is where calls
# per core would halve.
DEFAULT_COMPLEXITY = 1
MAX_COMPLEXITY = 10
MAX_LOSS_PERCENT = 30  # more only makes the speech itself poorer


@dataclass(frozen=True)
class BackendWishes:
    """What a backend asks of the encoder (OpusEncoder of model.proto); None: it does not say.

    Raises ValueError for a bit rate or a complexity that Opus does not have.
    """

    bitrate_bps: int | None = None
    complexity: int | None = None
    fec: bool | None = None
    dtx: bool | None = None

    def __post_init__(self) -> None:
        if self.bitrate_bps is not None and not SMALLEST_BPS <= self.bitrate_bps <= LARGEST_BPS:
            raise ValueError(f"bitrate_bps is not within {SMALLEST_BPS} and {LARGEST_BPS}")
        if not 0 <= (self.complexity or 0) <= MAX_COMPLEXITY:
            raise ValueError(f"complexity is not within 0 and {MAX_COMPLEXITY}")


_NO_WISHES = BackendWishes()
_ANY_CALLER = OpusWishes(fec=True)


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
    def speech(
        cls,
        rate_hz: int,
        caller: OpusWishes = _ANY_CALLER,
        backend: BackendWishes = _NO_WISHES,
    ) -> EncoderSettings:
        """What suits speech of that rate, as backend and caller want it.

        The caller's `a=fmtp` (RFC 7587 §6.1) limits bit rate, bandwidth and FEC; whether there is
        DTX is the backend's word, if it has one. `stereo` asks nothing of a mono voice. Raises
        KeyError for a rate Opus does not have.
        """
        bitrate_bps = _SPEECH_BPS[rate_hz] if backend.bitrate_bps is None else backend.bitrate_bps
        limit_bps = max(SMALLEST_BPS, caller.max_average_bps or LARGEST_BPS)
        return cls(
            rate_hz,
            min(bitrate_bps, limit_bps),
            complexity=DEFAULT_COMPLEXITY if backend.complexity is None else backend.complexity,
            fec=caller.fec and backend.fec is not False,
            dtx=caller.dtx if backend.dtx is None else backend.dtx,
            max_playback_hz=caller.max_playback_hz,
        )
