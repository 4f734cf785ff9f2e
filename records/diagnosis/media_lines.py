"""One line a direction: what the network did to the sound of a whole call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from records.diagnosis.facts import Fact, Facts, figure, finite
from records.diagnosis.rules.loss import share_lost
from trunkline.v1 import record_pb2 as pb

DIRECTIONS = {
    pb.DIRECTION_FROM_CALLER: "from_caller",
    pb.DIRECTION_TO_CALLER: "to_caller",
}


@dataclass(frozen=True, slots=True)
class MediaLine:
    """One direction of a call. Shares are 0 to 1, times are ms; None is what nobody measured."""

    direction: str
    spans: int
    packets: int
    lost: int
    lost_share: float
    worst_lost_share: float
    late: int
    recovered: int
    left_out: int
    concealed_ms: float
    jitter_ms: float | None
    round_trip_ms: float | None
    worst_round_trip_ms: float | None
    longest_silence_ms: float
    level_dbov: float | None
    gaps: int
    longest_gap_ms: float


def media_lines(facts: Facts) -> tuple[MediaLine, ...]:
    """Both directions, the caller's first; one of which nothing is known has zeros."""
    return tuple(_line(facts, number, name) for number, name in DIRECTIONS.items())


def _line(facts: Facts, number: int, name: str) -> MediaLine:
    spans = [one for one in facts.of("media") if one.body.direction == number]
    gaps = [one for one in facts.of("gap") if one.body.direction == number]
    packets, lost = _sum(spans, "packets"), _sum(spans, "lost")
    expected = packets + lost if number == pb.DIRECTION_FROM_CALLER else packets
    trips = list(_known(spans, "round_trip_ms"))
    levels = list(_known(spans, "level_dbov"))
    return MediaLine(
        direction=name,
        spans=len(spans),
        packets=packets,
        lost=lost,
        lost_share=min(1.0, lost / expected) if expected else 0.0,
        worst_lost_share=max(map(share_lost, spans), default=0.0),
        late=_sum(spans, "late"),
        recovered=_sum(spans, "recovered"),
        left_out=_sum(spans, "left_out"),
        concealed_ms=sum(_finite(spans, "concealed_ms")),
        jitter_ms=max(_finite(spans, "jitter_ms"), default=None),
        round_trip_ms=_mean(trips),
        worst_round_trip_ms=max(trips, default=None),
        longest_silence_ms=max(_finite(spans, "longest_silence_ms"), default=0.0),
        level_dbov=_mean(levels),
        gaps=len({_gap_of(one) for one in gaps}),
        longest_gap_ms=max(_finite(gaps, "length_ms"), default=0.0),
    )


def _gap_of(fact: Fact) -> int:
    """A gap that lasts is told again when it is over, and began at the same moment."""
    return fact.wall_us - int((finite(fact.body.length_ms) or 0.0) * 1000)


def _sum(spans: Sequence[Fact], name: str) -> int:
    return sum(getattr(one.body, name) for one in spans)


def _finite(facts: Sequence[Fact], name: str) -> Iterator[float]:
    values: Iterator[Any] = (finite(getattr(one.body, name)) for one in facts)
    return (value for value in values if value is not None)


def _known(spans: Sequence[Fact], name: str) -> Iterator[float]:
    values = (figure(one.body, name) for one in spans)
    return (value for value in values if value is not None)


def _mean(values: Sequence[float]) -> float | None:
    # Each by itself: the sum of two finite figures may be none.
    return sum(value / len(values) for value in values) if values else None
