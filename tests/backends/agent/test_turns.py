"""Turn detection on virtual time: windows and verdicts in, events out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.agent.completeness import OPEN, completeness, surely_complete
from backends.agent.listening import StablePrefix, detector
from backends.agent.models import WINDOW_S
from backends.agent.turns import (
    Patience,
    PauseBegan,
    PauseOver,
    SpeechBegan,
    TurnDetector,
    TurnEnded,
    TurnEvent,
)
from backends.realtime import SemanticVad, ServerVad

FIXED = Patience.fixed(0.5)


def heard(turns: TurnDetector, sound: str) -> Iterator[tuple[int, TurnEvent]]:
    """Events by window: `#` is voice, `.` silence, `~` something between."""
    for number, window in enumerate(sound):
        probability = {"#": 0.9, ".": 0.05, "~": 0.4}[window]
        for event in turns.window(probability, number * WINDOW_S):
            yield number, event


def kinds(turns: TurnDetector, sound: str) -> list[tuple[int, type[TurnEvent]]]:
    return [(number, type(event)) for number, event in heard(turns, sound)]


def test_a_turn() -> None:
    """Two voiced windows begin it, two silent ones are a pause, half a second is the end."""
    turns = TurnDetector(patience=FIXED)
    assert kinds(turns, "..####" + "." * 20) == [
        (3, SpeechBegan),
        (7, PauseBegan),
        (21, TurnEnded),
    ]


def test_a_click_is_no_turn() -> None:
    """One voiced window begins nothing, and one in a pause ends no pause."""
    turns = TurnDetector(patience=FIXED)
    assert kinds(turns, "..#..#...") == []
    assert kinds(turns, "###..#.." + "." * 20)[1:] == [(4, PauseBegan), (18, TurnEnded)]


def test_a_voice_that_has_begun_may_fade() -> None:
    """What would begin no turn keeps one going."""
    assert kinds(TurnDetector(patience=FIXED), "~~~~") == []
    assert kinds(TurnDetector(patience=FIXED), "##~~~~") == [(1, SpeechBegan)]


def test_going_on_takes_the_pause_back() -> None:
    """Each pause has a number of its own, and a verdict on an old one is not heard."""
    turns = TurnDetector(patience=Patience(0.2, 2.0, 1.0))
    events = [event for _, event in heard(turns, "###...###..")]
    assert [type(event) for event in events] == [SpeechBegan, PauseBegan, PauseOver, PauseBegan]
    waits_until_s = turns.deadline_s()
    turns.verdict(1, 1.0)
    assert turns.deadline_s() == waits_until_s
    turns.verdict(2, 1.0)
    assert turns.deadline_s() == pytest.approx(8 * WINDOW_S + 0.2)


def test_the_clock_ends_a_turn_of_a_caller_who_sends_nothing() -> None:
    """A muted caller's turn ends by `poll`, not before its time and only once."""
    turns = TurnDetector(patience=FIXED)
    list(heard(turns, "###..."))
    deadline_s = turns.deadline_s()
    assert deadline_s is not None
    assert turns.poll(deadline_s - 0.01) == []
    assert turns.poll(deadline_s) == [TurnEnded(1, 2 * WINDOW_S)]
    assert turns.poll(deadline_s + 1) == []


@given(st.floats(0, 1), st.floats(0, 1))
def test_patience_falls_with_certainty(one: float, other: float) -> None:
    """The more complete it seems the shorter the wait, within its bounds."""
    patience = Patience()
    low, high = sorted((one, other))
    assert patience.at_least_s <= patience.wait_s(high) <= patience.wait_s(low) + 1e-9
    assert patience.wait_s(low) <= patience.at_most_s + 1e-9


@given(st.text("#.~", max_size=200))
def test_events_alternate(sound: str) -> None:
    """Whatever is heard: a turn begins, pauses are taken back or end it, then another may begin."""
    after: dict[type[TurnEvent] | None, set[type[TurnEvent]]] = {
        None: {SpeechBegan},
        SpeechBegan: {PauseBegan},
        PauseBegan: {PauseOver, TurnEnded},
        PauseOver: {PauseBegan},
        TurnEnded: {SpeechBegan},
    }
    before: type[TurnEvent] | None = None
    for _, event in heard(TurnDetector(patience=FIXED), sound):
        assert type(event) in after[before]
        before = type(event)


def test_what_the_session_asks_for() -> None:
    """server_vad is a fixed silence, semantic_vad waits by eagerness, null detects nothing."""
    server = detector(ServerVad(type="server_vad", threshold=0.7, silence_duration_ms=300))
    assert server is not None
    assert (server.threshold, server.patience) == (0.7, Patience.fixed(0.3))
    waits = []
    for eagerness in ("high", "medium", "low"):
        semantic = detector(SemanticVad(type="semantic_vad", eagerness=eagerness))
        assert semantic is not None
        waits.append(semantic.patience.at_most_s)
    assert waits == sorted(waits)
    assert detector(None) is None


@pytest.mark.parametrize(
    ("text", "melody", "low", "high"),
    [
        ("What is the capital of France?", 0.9, 0.9, 1),
        ("What is the capital of", 0.9, 0, OPEN),
        ("I would like the.", 0.99, 0, OPEN),
        ("Well, I think,", 0.9, 0, 0.2),
        ("When you have time", 0.95, 0, 0.2),
        ("When you have time, call me.", 0.95, 0.9, 1),
        ("My name is Alexander.", None, 0.5, 0.7),
        ("", 0.9, 0, OPEN),
        ("Could you tell me?", 0.99, 0, OPEN),
        ("She told me that.", 0.99, 0, OPEN),
        ("To be honest.", 0.99, 0, OPEN),
        ("What do you think?", 0.9, 0.9, 1),
        ("Okay.", 0.9, 0.9, 1),
    ],
)
def test_words_move_the_verdict(text: str, melody: float | None, low: float, high: float) -> None:
    """Nobody stops after `the`; a question mark helps; words that say nothing leave it alone."""
    assert low <= completeness(text, melody) <= high


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("What is the capital of France?", True),
        ("Can you recommend a good book?", True),
        ("Could you tell me?", False),
        ("Would you please give it to me?", False),
        ("I would like to book a table.", False),
        ("Who knows?", False),
        ("Can you remind me too?", False),
    ],
)
def test_a_whole_question_needs_no_melody(text: str, sure: bool) -> None:
    """Five words and an object; what could go on is heard again."""
    assert surely_complete(text) is sure


def test_growing_transcripts_tell_what_is_sure() -> None:
    """A word is told once, when two transcripts in a row have it."""
    stable = StablePrefix()
    grown = [stable.grow(text) for text in ("What", "What is a", "What is the", "What is the time")]
    assert grown == ["", "What", " is", " the"]
