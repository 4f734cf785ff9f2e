"""The table of turns: what was said, how long each stage took, which tools ran, what was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from records.diagnosis.facts import Fact, Facts, figure
from records.diagnosis.usage import amounts_by_response

_STAGES = (
    *("ended_ms", "heard_ms", "first_words_ms", "tool_started_ms", "tool_ended_ms"),
    *("first_sound_ms", "sent_ms", "out_ms"),
)


_LONGEST_MS = 1e9  # eleven days: what is longer is no measurement


@dataclass(frozen=True, slots=True)
class TurnLine:
    """One turn. `stages` has ms after the caller's last voiced packet, by names of record.proto.

    `said` and `answer` are None where nothing is kept of them. `voice_to_voice_ms` is from the
    caller's last sound to the first of the answer, as both left and reached the transceiver.
    `began_us` is the Unix time in µs of the caller's last voiced packet, as well as it is known.
    """

    turn: int
    began_us: int
    told_us: int
    final: bool
    said: str | None
    answer: str | None
    voice_to_voice_ms: float | None
    stages: Mapping[str, float]
    unexplained_ms: float | None
    network_ms: float | None
    tools: tuple[str, ...]
    speculative: bool
    discarded: int
    interrupted: bool
    heard_ms: float | None
    failed: str
    item_id: str
    response_id: str
    usage: Mapping[str, float]


def turn_lines(facts: Facts) -> tuple[TurnLine, ...]:
    """Each turn once, in order."""
    used = amounts_by_response(facts)
    answers = {last.body.response_id: last for _, last in facts.items() if last.body.response_id}
    return tuple(_line(facts, one, used, answers) for one in facts.turns())


def _line(
    facts: Facts,
    fact: Fact,
    used: Mapping[str, Mapping[str, float]],
    answers: Mapping[str, Fact],
) -> TurnLine:
    turn = fact.body
    answer = answers.get(turn.response_id)
    return TurnLine(
        turn=turn.turn,
        began_us=_began_us(facts, fact),
        told_us=fact.wall_us,
        final=turn.final,
        said=facts.texts.get(turn.item_id),
        answer=facts.texts.get(answer.body.item_id) if answer else None,
        voice_to_voice_ms=figure(turn, "out_ms"),
        stages=dict(_stages(fact)),
        unexplained_ms=figure(turn, "unexplained_ms"),
        network_ms=_network_ms(fact),
        tools=tuple(turn.tools),
        speculative=turn.speculative,
        discarded=turn.discarded,
        interrupted=turn.interrupted,
        heard_ms=figure(answer.body, "heard_ms") if answer else None,
        failed=turn.failed,
        item_id=turn.item_id,
        response_id=turn.response_id,
        usage=used.get(turn.response_id, {}),
    )


def _began_us(facts: Facts, fact: Fact) -> int:
    """A turn is told when its answer begins to leave; one that has none when it is over."""
    first = facts.turns_told[fact.body.turn]
    out_ms = figure(first.body, "out_ms")
    if out_ms is None or first.body.final:
        said = facts.first_said.get(fact.body.item_id)
        heard_ms = figure(fact.body, "heard_ms")
        if said is not None and heard_ms is not None:
            return _earlier(said, heard_ms)
    return _earlier(first.wall_us, out_ms or 0.0)


def _earlier(wall_us: int, ms: float) -> int:
    return wall_us - int(max(-_LONGEST_MS, min(ms, _LONGEST_MS)) * 1000)


def _stages(fact: Fact) -> Iterator[tuple[str, float]]:
    for name in _STAGES:
        value = figure(fact.body, name)
        if value is not None:
            yield name.removesuffix("_ms"), value


def _network_ms(fact: Fact) -> float | None:
    """What the network adds for the caller: a round trip, and the jitter buffers at both ends."""
    names = ("rtt_ms", "jitter_buffer_ms", "client_jitter_buffer_ms")
    known = [value for value in (figure(fact.body, name) for name in names) if value is not None]
    return sum(known) if known else None
