"""Packets that were lost on the way in or out."""

from __future__ import annotations

from collections.abc import Iterator

from records.diagnosis.causes import Cause
from records.diagnosis.facts import Fact, Facts, finite, shown_ms
from records.diagnosis.finding import Finding, Strength
from trunkline.v1 import record_pb2 as pb

# A call is poor above 1.2 % (VIA, SIGCOMM 2016). Opus hides what is lost one by one, and words
# begin to go at about 3 %.
POOR_SHARE = 0.03
# Two seconds of sound: in less, one burst of a healthy network is several per cent.
MIN_PACKETS = 100
# As long as a short word: fifteen packets in a row, which nothing can make up.
LOST_GAP_MS = 300

_WAYS = {
    pb.DIRECTION_FROM_CALLER: (Cause.LOSS_IN, "from the caller"),
    pb.DIRECTION_TO_CALLER: (Cause.LOSS_OUT, "to the caller"),
}


def lost_packets(facts: Facts) -> Iterator[Finding]:
    """Spans in which more was lost than one can listen to, and gaps that the network made.

    The worst span names the figure.
    """
    for direction, (cause, way) in _WAYS.items():
        poor = [one for one in facts.of("media") if _is_poor(one, direction)]
        if poor:
            worst = max(share_lost(one) for one in poor)
            sentence = f"Up to {worst:.0%} of the packets {way} were lost."
            evidence = tuple(one.says(_words(one, way)) for one in poor)
            yield Finding(cause, Strength.MEASURED, min(1.0, 3 * worst), sentence, evidence)
    yield from _lost_gaps(facts)


def _lost_gaps(facts: Facts) -> Iterator[Finding]:
    for fact in facts.of("gap"):
        length_ms = finite(fact.body.length_ms) or 0.0
        if fact.body.kind == pb.GAP_KIND_LOST and length_ms >= LOST_GAP_MS:
            cause, way = _WAYS.get(fact.body.direction, _WAYS[pb.DIRECTION_FROM_CALLER])
            words = f"packets {way} were lost for {shown_ms(length_ms)}"
            sentence = f"{words[0].upper()}{words[1:]}."
            yield Finding(cause, Strength.MEASURED, 0.2, sentence, (fact.says(words),))


def share_lost(fact: Fact) -> float:
    """What share of a span's packets was lost, 0 to 1.

    Of the caller's, those that came are counted; to the caller, those that were sent.
    """
    media = fact.body
    came = media.direction == pb.DIRECTION_FROM_CALLER
    expected = media.packets + media.lost if came else media.packets
    return min(1.0, media.lost / expected) if expected else 0.0


def _is_poor(fact: Fact, direction: int) -> bool:
    enough = fact.body.packets + fact.body.lost >= MIN_PACKETS
    return fact.body.direction == direction and enough and share_lost(fact) >= POOR_SHARE


def _words(fact: Fact, way: str) -> str:
    return f"{share_lost(fact):.0%} of the packets {way} lost in {fact.body.span_s:.0f} s"
