"""What a client is told of a conversation becomes what is recorded of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.realtime import RealtimeSession
from backends.realtime.recorded_turn import unexplained_ms
from backends.realtime.recording import MAX_REMEMBERED, Recording
from backends.realtime.usage import InputTokens, OutputTokens, Usage
from trunkline.v1 import record_pb2 as pb


def heard(recording: Recording, *events: dict[str, Any]) -> list[pb.Recorded]:
    return [recorded for event in events for recorded in recording.hear(event)]


def test_an_answer_of_a_real_session() -> None:
    """Its words, and its tokens by kind, none twice."""
    session = RealtimeSession()
    recording = Recording()
    heard(recording, *session.opened())
    _, events = session.message_started()
    assert events == []
    events = session.response_created()
    item_id, more = session.message_started()
    events += more + session.message_delta("It left ") + session.message_delta("on Monday.")
    usage = Usage(InputTokens(text=50, audio=30, cached=20), OutputTokens(text=4, audio=60))
    told = heard(recording, *events, *session.response_done(usage=usage))
    item, used = told
    assert (item.item.item_id, item.content) == (item_id, "It left on Monday.")
    assert (item.item.role, item.item.final, item.item.audio) == (pb.ROLE_ASSISTANT, True, True)
    assert {a.kind: a.amount for a in used.usage.amounts} == {
        pb.USAGE_KIND_TEXT_INPUT_TOKENS: 30,
        pb.USAGE_KIND_AUDIO_INPUT_TOKENS: 30,
        pb.USAGE_KIND_TEXT_CACHED_TOKENS: 20,
        pb.USAGE_KIND_TEXT_OUTPUT_TOKENS: 4,
        pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS: 60,
    }
    cut = heard(
        recording, {"type": "conversation.item.truncated", "item_id": item_id, "audio_end_ms": 300}
    )
    assert (cut[0].item.truncated, cut[0].item.heard_ms) == (True, 300)
    assert cut[0].item.role == pb.ROLE_ASSISTANT


def test_what_the_caller_said() -> None:
    """An item that is still to be written down is told with its words."""
    recording = Recording()
    item = {"id": "i1", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
    told = heard(
        recording,
        {"type": "conversation.item.done", "item": item},
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "i1",
            "transcript": "Where is it?",
            "usage": {"type": "duration", "seconds": 1.5},
        },
    )
    assert [(r.item.item_id, r.item.role, r.content) for r in told[:1]] == [
        ("i1", pb.ROLE_USER, "Where is it?")
    ]
    assert told[1].usage.amounts[0].kind == pb.USAGE_KIND_HEARD_SECONDS


@pytest.mark.parametrize(
    ("output", "outcome"),
    [
        ('{"time": "10"}', pb.TOOL_OUTCOME_OK),
        ('{"error": "the tool did not answer in time"}', pb.TOOL_OUTCOME_TIMED_OUT),
        ('{"error": "the tool cannot be reached"}', pb.TOOL_OUTCOME_FAILED),
    ],
)
def test_a_tool(output: str, outcome: int) -> None:
    """Its name, the hash of its arguments, how long it took and what came of it."""
    clock = [5.0]
    recording = Recording(lambda: clock[0])
    call = {"id": "i1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    _, started = heard(recording, {"type": "conversation.item.done", "item": call})
    clock[0] += 0.25
    done = {"id": "i2", "type": "function_call_output", "call_id": "c1", "output": output}
    item, ended = heard(recording, {"type": "conversation.item.done", "item": done})
    assert started.tool.outcome == pb.TOOL_OUTCOME_STARTED
    assert started.tool.arguments_sha256 == hashlib.sha256(b"{}").digest()
    assert (item.item.role, item.content) == (pb.ROLE_TOOL, output)
    assert (ended.tool.name, ended.tool.duration_ms, ended.tool.outcome) == ("f", 250, outcome)


TURN: dict[str, Any] = {
    "type": "trunkline.turn",
    "turn": 3,
    "final": True,
    "item_id": "i1",
    "response_id": None,
    "stages_ms": {"ended": 200.0, "heard": 250.0, "first_words": 300.0, "first_sound": 380.0,
                  "sent": 381.0, "out": 384.5},
    "speculative": True,
    "discarded": 1,
    "tools": ["f"],
    "interrupted": False,
    "failed": None,
    "network": {"rtt_ms": 31.0, "jitter_buffer_ms": None},
}  # fmt: skip


def test_a_turn_and_what_the_client_measured() -> None:
    """Stages that did not happen are not set; the client's legs are added to what was told."""
    recording = Recording()
    (first,) = heard(recording, TURN)
    (second,) = heard(
        recording,
        {
            "type": "trunkline.turn_network",
            "turn": 3,
            "network": {"rtt_ms": 31.0, "jitter_buffer_ms": None, "client_rtt_ms": 29.0},
        },
    )
    turn = first.turn
    assert (turn.turn, turn.out_ms, turn.speculative, turn.tools) == (3, 384.5, True, ["f"])
    assert not turn.HasField("tool_started_ms")
    assert not turn.HasField("jitter_buffer_ms")
    assert turn.unexplained_ms == 1.0
    assert (second.turn.client_rtt_ms, second.turn.out_ms) == (29.0, 384.5)


@pytest.mark.parametrize(
    ("stages", "unexplained"),
    [
        ({}, None),
        ({"out": 500.0}, 500.0),
        ({"heard": 100.0, "first_words": 150, "first_sound": 200, "sent": 200, "out": 203}, 0.0),
        ({"heard": 100.0, "first_sound": 200, "sent": 200, "out": 203}, 100.0),
        (
            {"heard": 100.0, "first_words": 150, "first_sound": 200, "ended": 600, "sent": 640,
             "out": 643},
            40.0,
        ),
    ],
)  # fmt: skip
def test_what_no_stage_explains(stages: dict[str, float], unexplained: float | None) -> None:
    """The time over stages that were not seen, and a wait for nothing."""
    assert unexplained_ms(stages) == unexplained


def test_a_model_that_fails() -> None:
    """Which stage, and how."""
    error = {"type": "server_error", "code": "llm_timeout", "message": "x"}
    (told,) = heard(Recording(), {"type": "error", "error": error})
    assert (told.model_fault.stage, told.model_fault.kind) == ("llm", "timeout")
    refusal = {"type": "invalid_request_error", "code": "x"}
    assert heard(Recording(), {"type": "error", "error": refusal}) == []


def test_what_is_remembered_is_bounded() -> None:
    """A conversation of any length."""
    recording = Recording()
    for number in range(3 * MAX_REMEMBERED):
        item = {"id": f"i{number}", "type": "function_call", "call_id": f"c{number}", "name": "f"}
        heard(recording, {"type": "conversation.item.done", "item": item})
    assert len(recording._items) == len(recording._tools) == MAX_REMEMBERED


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["item", "id", "type", "role", "content", "response", "usage", "error", "network", "turn",
         "stages_ms", "item_id", "session", "transcript"]), inner, max_size=5),
    max_leaves=8,
)  # fmt: skip


@given(
    st.sampled_from(list(Recording()._handlers)),
    st.dictionaries(st.text(max_size=10), values) | values,
)
def test_an_upstream_may_say_anything(kind: str, rest: Any) -> None:
    """What is odd is not recorded, and nothing raises."""
    event = {**rest, "type": kind} if isinstance(rest, dict) else rest
    Recording().hear(event)
