"""What both directions of a call's sound were like since the last report. Pure.

Everything is read from counters that are there anyway; the path of a packet has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from transceiver.rtp.audio import AudioStream
from transceiver.rtp.gaps import Gap, GapKind
from transceiver.rtp.jitter_buffer import JitterBuffer
from transceiver.rtp.opus import CLOCK_HZ
from trunkline.v1 import record_pb2 as pb

FRAME_MS = 20
# RTP, its SRTP tag, UDP and IPv4: what a packet to the caller has beside its payload.
OVERHEAD_BYTES = 12 + 10 + 8 + 20
# A silence that lasts is told once it is this long, and again when it is over.
LASTING_S = 3.0
_KINDS = {
    GapKind.LOST: pb.GAP_KIND_LOST,
    GapKind.DELAYED: pb.GAP_KIND_DELAYED,
    GapKind.NOT_SENT: pb.GAP_KIND_NOT_SENT,
}


class Totals(NamedTuple):
    """Counters of a call at one moment, since it began."""

    received: int = 0
    lost: int = 0
    recovered: int = 0
    late: int = 0
    left_out: int = 0
    filled: int = 0
    sent: int = 0
    octets: int = 0
    sent_lost: int = 0
    sent_left_out: int = 0

    @classmethod
    def of(cls, audio: AudioStream) -> Totals:
        """As they are now."""
        window, sender = audio.window, audio.sender
        return cls(
            *(audio.received, audio.lost, audio.recovered, audio.late, audio.left_out),
            window.filled if isinstance(window, JitterBuffer) else 0,
            *(sender.packets, sender.octets, audio.reports.lost if audio.reports else 0),
            sender.left_out,
        )

    def since(self, before: Totals) -> Totals:
        """What was added; a counter that began anew counts from nothing."""
        return Totals(
            *(now - then if now >= then else now for now, then in zip(self, before, strict=True))
        )


@dataclass
class MediaReport:
    """Of one call. Times are of the clock of `now`."""

    began_s: float
    totals: Totals | None  # None: of a call that goes on here, whose counters do not begin at 0
    lasting: bool = False  # a silence was told that is not over

    def gaps(self, audio: AudioStream, now: float) -> Iterator[tuple[float, pb.Gap]]:
        """Gaps since the last time, each with the moment it was over; and one that lasts."""
        heard = audio.heard
        if self.totals is None:
            self.totals = Totals.of(audio)
        if heard is None:
            return
        for gap in heard.gaps.take():
            self.lasting = False
            yield gap.until_s, _gap(gap)
        silent_s = now - heard.gaps.last_s
        if silent_s > LASTING_S and not self.lasting:
            self.lasting = True
            yield now, pb.Gap(direction=pb.DIRECTION_FROM_CALLER, length_ms=silent_s * 1000)

    def take(self, audio: AudioStream, now: float) -> tuple[pb.Media, pb.Media, int]:
        """From the caller and to the caller since the last time, and bytes to the caller."""
        totals = Totals.of(audio)
        new, span_s = totals.since(self.totals or totals), max(0.0, now - self.began_s)
        self.totals, self.began_s = totals, now
        to_caller_bytes = new.octets + new.sent * OVERHEAD_BYTES
        from_caller = self._from_caller(audio, new, span_s, now)
        return from_caller, self._to_caller(audio, new, span_s), to_caller_bytes

    def _from_caller(self, audio: AudioStream, new: Totals, span_s: float, now: float) -> pb.Media:
        heard = audio.heard
        silent_s = max(heard.gaps.take_longest_s(), now - heard.gaps.last_s) if heard else span_s
        return pb.Media(
            direction=pb.DIRECTION_FROM_CALLER,
            span_s=span_s,
            packets=new.received,
            lost=new.lost,
            recovered=new.recovered,
            concealed_ms=(new.filled or max(0, new.lost - new.recovered)) * FRAME_MS,
            jitter_ms=(heard.jitter if heard else 0.0) * 1000 / CLOCK_HZ,
            round_trip_ms=_ms(audio.round_trip_s),
            longest_silence_ms=silent_s * 1000,
            late=new.late,
            left_out=new.left_out,
        )

    def _to_caller(self, audio: AudioStream, new: Totals, span_s: float) -> pb.Media:
        return pb.Media(
            direction=pb.DIRECTION_TO_CALLER,
            span_s=span_s,
            packets=new.sent,
            lost=new.sent_lost,
            jitter_ms=(audio.reports.jitter if audio.reports else 0) * 1000 / CLOCK_HZ,
            round_trip_ms=_ms(audio.round_trip_s),
            waiting_frames=len(audio.sender),
            left_out=new.sent_left_out,
        )


def _gap(gap: Gap) -> pb.Gap:
    return pb.Gap(
        direction=pb.DIRECTION_FROM_CALLER,
        length_ms=gap.length_s * 1000,
        over=True,
        kind=_KINDS[gap.kind],
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
