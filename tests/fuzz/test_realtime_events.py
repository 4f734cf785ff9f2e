"""Whatever text a client sends, the session answers and lives."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backends.realtime import RealtimeSession, ServerEvent, to_text
from backends.realtime.client_events import _MODELS

NAMES = sorted(_MODELS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=12,
)
WORDS = st.sampled_from(
    (
        *(*NAMES, "realtime", "message", "user", "assistant", "system", "function_call"),
        *("server_vad", "semantic_vad", "input_text", "input_audio", "output_audio", "function"),
        *("none", "root", "inf"),
    )
)
FIELDS = st.sampled_from(
    (
        *("event_id", "session", "type", "item", "item_id", "previous_item_id", "content_index"),
        *("audio_end_ms", "response", "response_id", "audio", "input", "output", "role", "name"),
        *("content", "text", "transcript", "call_id", "arguments", "tools", "metadata", "id"),
        *("conversation", "instructions", "voice", "tool_choice", "max_output_tokens"),
        "turn_detection",
    )
)
LIKELY = st.recursive(
    JSON | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=5),
    max_leaves=16,
)


def _survives(session: RealtimeSession, text: str) -> list[ServerEvent]:
    events = session.client_event(text).events
    for event in events:
        assert json.loads(to_text(event).encode()) == event
    return events


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_answered(text: str) -> None:
    """No text raises; what is no event gets exactly one error."""
    (event,) = _survives(RealtimeSession(), text)
    assert event["type"] == "error"


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.dictionaries(FIELDS, LIKELY)), max_size=4))
@settings(max_examples=300)
def test_events_that_look_right_are_answered(events: list[tuple[str, dict[str, Any]]]) -> None:
    """Known names with any members raise nothing."""
    session = RealtimeSession()
    for name, members in events:
        _survives(session, json.dumps({**members, "type": name}))


@given(st.text() | LIKELY.map(json.dumps))
def test_any_session_object_opens_a_session(text: str) -> None:
    """What comes with the offer cannot keep a session from opening."""
    events = RealtimeSession(text).opened()
    assert events[0]["type"] == "session.created"
    json.loads("[" + ",".join(map(to_text, events)) + "]")


class Call(RuleBasedStateMachine):
    """A client that says anything at any time to an agent that does anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.session = RealtimeSession(max_items=4)
        self.item_id = ""
        self.started = self.done = 0

    def hear(self, events: list[ServerEvent]) -> None:
        for event in events:
            self.started += event["type"] == "response.created"
            self.done += event["type"] == "response.done"

    @rule(
        kind=st.sampled_from(NAMES),
        end_ms=st.integers(-5, 500),
        role=st.sampled_from(["user", "assistant"]),
    )
    def client_says(self, kind: str, end_ms: int, role: str) -> None:
        part = {"type": "input_text" if role == "user" else "output_text", "text": "hi"}
        everything = {
            "session.update": {"session": {"type": "realtime"}},
            "input_audio_buffer.append": {"audio": "AAAA" * 2},
            "conversation.item.create": {
                "item": {"type": "message", "role": role, "content": [part]}
            },
            "conversation.item.truncate": {
                "item_id": self.item_id or "x",
                "content_index": 0,
                "audio_end_ms": end_ms,
            },
            "conversation.item.delete": {"item_id": self.item_id or "x"},
            "conversation.item.retrieve": {"item_id": self.item_id or "x"},
        }
        text = json.dumps({"type": kind, **everything.get(kind, {})})  # type: ignore[dict-item]
        self.hear(_survives(self.session, text))

    @rule()
    def turn(self) -> None:
        self.session.speech_started(0)
        self.session.speech_stopped(10)
        item_id, _ = self.session.input_committed()
        self.session.input_transcript(item_id, "words", 1.0)

    @rule()
    def answer(self) -> None:
        if self.session.active is None:
            self.hear(self.session.response_created())

    @rule(text=st.text(max_size=8), ms=st.integers(0, 100))
    def speak(self, text: str, ms: int) -> None:
        if self.session.active and self.session.active.open is None:
            self.item_id, _ = self.session.message_started()
        self.session.message_delta(text)
        self.session.audio_queued(self.item_id, ms)
        self.session.audio_sent(self.item_id, ms)

    @rule()
    def call(self) -> None:
        self.session.function_call_started("f")
        self.session.function_call_delta("{}")
        self.session.output_done()

    @rule(ms=st.integers(0, 500))
    def clear(self, ms: int) -> None:
        self.session.output_cleared({self.item_id: ms})

    @rule(status=st.sampled_from(["completed", "cancelled"]))
    def finish(self, status: Any) -> None:
        self.hear(self.session.response_done(status))

    @invariant()
    def responses_alternate(self) -> None:
        assert self.started - self.done == (self.session.active is not None)

    @invariant()
    def items_are_bounded(self) -> None:
        assert len(self.session.conversation) <= 4

    @invariant()
    def all_of_it_can_be_sent(self) -> None:
        json.dumps(self.session.conversation.items)


class TestCall(Call.TestCase):  # type: ignore[misc, valid-type]
    """Client and agent in any order: responses begin and end in turn, and items stay bounded."""

    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
