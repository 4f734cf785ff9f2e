"""What a receiver counts of one source for its reports (RFC 3550 §6.4.1, A.3, A.8).

Order of arrival is what matters here, so this stands before the reorder window, not behind it.
"""

from __future__ import annotations

from transceiver.rtp.gaps import GAP_S, Gaps
from transceiver.rtp.opus import CLOCK_HZ
from transceiver.takeover.session_state import HeardState
from wire.rtcp import ReportBlock

MAX_LOST = 0x7F_FFFF  # 24 bits, signed


class ReceptionStatistics:
    """Loss and jitter of one SSRC. Times are seconds, jitter is in 48 kHz ticks."""

    def __init__(self, ssrc: int, first_sequence: int) -> None:
        self.ssrc = ssrc
        self.received = 0
        self.jitter = 0.0
        self._base = self._highest = first_sequence  # extended: above 16 bits, the cycles
        self.transit: int | None = None  # of the last packet: arrival less timestamp, in ticks
        self.gaps = Gaps()
        self._expected_prior = 0
        self._received_prior = 0

    @classmethod
    def resumed(cls, state: HeardState) -> ReceptionStatistics:
        """What another process had counted. The next packet measures no jitter: clocks differ."""
        heard = cls(state.ssrc, state.base)
        heard._highest, heard.received, heard.jitter = state.highest, state.received, state.jitter
        heard._expected_prior = state.expected_prior
        heard._received_prior = state.received_prior
        return heard

    def export(self) -> HeardState:
        """The counts as a value."""
        return HeardState(
            ssrc=self.ssrc,
            base=self._base,
            highest=self._highest,
            received=self.received,
            jitter=self.jitter,
            expected_prior=self._expected_prior,
            received_prior=self._received_prior,
        )

    def note(self, sequence: int, timestamp: int, now: float) -> None:
        """Count one packet, duplicates too (A.3)."""
        self.received += 1
        ahead = (sequence - self._highest) & 0xFFFF
        if ahead < 0x8000:
            self._highest += ahead
        transit = int(now * CLOCK_HZ) - timestamp
        gaps = self.gaps
        if self.transit is not None:
            # The timestamp wraps and the clock does not: the difference counts modulo 2^32.
            change = (transit - self.transit + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
            self.jitter += (abs(change) - self.jitter) / 16
            if now - gaps.last_s > GAP_S:
                gaps.note(now, ahead, change)
        gaps.last_s = now
        self.transit = transit

    @property
    def lost(self) -> int:
        """Expected less received since the first packet; duplicates can make it negative (A.3)."""
        return self._expected - self.received

    @property
    def _expected(self) -> int:
        return self._highest - self._base + 1

    def report(self, last_sr: int, delay_since_last_sr: int) -> ReportBlock:
        """A report block, which also starts the next interval of the fraction lost."""
        expected = self._expected - self._expected_prior
        lost = expected - (self.received - self._received_prior)
        self._expected_prior, self._received_prior = self._expected, self.received
        fraction = (lost << 8) // expected if expected > 0 and lost > 0 else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=min(fraction, 255),
            packets_lost=max(-MAX_LOST - 1, min(self.lost, MAX_LOST)),
            highest_sequence=self._highest & 0xFFFF_FFFF,
            jitter=int(self.jitter) & 0xFFFF_FFFF,
            last_sr=last_sr,
            delay_since_last_sr=delay_since_last_sr,
        )
