"""Each client event does what OpenAI's API says, and is refused in its words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from backends.realtime import (
    AppendAudio,
    CancelResponse,
    ClearInput,
    ClearOutput,
    CommitInput,
    CreateItem,
    CreateResponse,
    DeleteItem,
    NoteClientNetwork,
    RealtimeSession,
    SemanticVad,
    TruncateItem,
    UpdateSession,
)
from backends.realtime.reported_turns import MAX_TURNS
from tests.backends.realtime.kit import answering, ask, check, kinds, refused, say

HALF_SECOND = base64.b64encode(bytes(24_000)).decode()


def _user(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **more}


def _item(session: RealtimeSession, item: dict[str, Any], **more: Any) -> str:
    added = ask(session, type="conversation.item.create", item=item, **more)[0]
    return str(added["item"]["id"])


def _order(session: RealtimeSession) -> list[str]:
    return [item["id"] for item in session.conversation.items]


def test_a_session_opens_with_its_configuration() -> None:
    """The first event shows the caller's session over the agent's defaults over the API's own."""
    given = '{"type":"realtime","instructions":"Be brief.","trunkline":{"backend":"a"}}'
    session = RealtimeSession(given, {"model": "local", "instructions": "Be kind."})
    (created,) = check(session.opened())
    shown = created["session"]
    assert created["type"] == "session.created"
    assert (shown["model"], shown["instructions"]) == ("local", "Be brief.")
    assert shown["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500
    assert "trunkline" not in shown


@pytest.mark.parametrize("text", ["{", "[]", '{"nonsense":1}', '{"type":"transcription"}'])
def test_a_session_that_cannot_be_read_is_said_and_the_call_goes_on(text: str) -> None:
    """A bad session object leaves the defaults, and an error event follows session.created."""
    session = RealtimeSession(text, {"instructions": "Be kind."})
    created, error = check(session.opened())
    assert created["session"]["instructions"] == "Be kind."
    assert error["error"]["type"] == "invalid_request_error"
    assert ask(session, type="response.create")


def test_session_update_changes_only_what_it_names() -> None:
    """Objects of sound are merged, everything else is replaced, and the agent hears of it."""
    session = RealtimeSession("", {"model": "local"})
    audio = {"input": {"transcription": {"model": "w"}}, "output": {"voice": "joe"}}
    ask(session, type="session.update", session={"type": "realtime", "audio": audio})
    turns = {"type": "semantic_vad", "eagerness": "high"}
    reaction = say(
        session,
        type="session.update",
        session={"type": "realtime", "audio": {"input": {"turn_detection": turns}}, "model": "x"},
    )
    config = session.config
    assert kinds(reaction.events) == ["session.updated"]
    assert reaction.commands == [UpdateSession(config)]
    assert config.audio.input.turn_detection == SemanticVad(type="semantic_vad", eagerness="high")
    assert config.audio.input.transcription is not None
    assert (config.audio.output.voice, config.model) == ("joe", "local")


def test_turn_detection_can_be_turned_off_and_instructions_cleared() -> None:
    """null and an empty string are values, not omissions."""
    session = RealtimeSession('{"instructions":"Be brief."}')
    off: dict[str, Any] = {"input": {"turn_detection": None}}
    change = {"type": "realtime", "instructions": "", "tools": [], "audio": off}
    (updated,) = ask(session, type="session.update", session=change)
    assert updated["session"]["audio"]["input"]["turn_detection"] is None
    assert updated["session"]["instructions"] == ""


def _nested(*path: str, value: Any) -> dict[str, Any]:
    inner = value
    for name in reversed(path):
        inner = {name: inner}
    return {"type": "realtime", **inner}


TURNS = ("audio", "input", "turn_detection")


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        (None, "invalid_type", "session"),
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        (_nested("voice", value="joe"), "unknown_parameter", "session.voice"),
        (_nested("tools", value=[{"type": "mcp"}]), "invalid_value", "session.tools[0].type"),
        (
            _nested("tools", value=[{"type": "function", "name": "a b"}]),
            "invalid_value",
            "session.tools[0].name",
        ),
        (
            _nested("tools", value=[{"type": "function", "name": "a"}] * 2),
            "invalid_value",
            "session",
        ),
        (
            _nested(*TURNS, value={}),
            "missing_required_parameter",
            f"session.{'.'.join(TURNS)}.type",
        ),
        (_nested(*TURNS, value={"type": "magic"}), "invalid_value", f"session.{'.'.join(TURNS)}"),
        (
            _nested(*TURNS, value={"type": "server_vad", "threshold": "high"}),
            "invalid_type",
            f"session.{'.'.join(TURNS)}.threshold",
        ),
        (
            _nested(*TURNS, value={"type": "server_vad", "idle_timeout_ms": 4999}),
            "invalid_value",
            f"session.{'.'.join(TURNS)}.idle_timeout_ms",
        ),
        (
            _nested(*TURNS, value={"type": "semantic_vad", "threshold": 0.5}),
            "unknown_parameter",
            f"session.{'.'.join(TURNS)}.threshold",
        ),
        (_nested("max_output_tokens", value=0), "invalid_value", "session.max_output_tokens"),
        (_nested("output_modalities", value=["smell"]), "invalid_value", None),
    ],
)
def test_a_bad_session_update_is_refused_by_its_path(
    session: Any, code: str, param: str | None
) -> None:
    """The error names the field as the client wrote it, and nothing is changed."""
    live = RealtimeSession()
    before = live.config
    error = refused(live, type="session.update", event_id="mine", session=session)
    assert (error["code"], error["event_id"]) == (code, "mine")
    assert param is None or error["param"] == param
    assert live.config is before


def test_the_voice_stays_once_it_was_heard() -> None:
    """Another voice is refused after the first sound; naming the same again is not."""
    session = RealtimeSession("", {"audio": {"output": {"voice": "joe"}}})
    session.audio_sent(answering(session), 20)
    same, other = (
        {"type": "realtime", "audio": {"output": {"voice": voice}}} for voice in ("joe", "amy")
    )
    ask(session, type="session.update", session=same)
    error = refused(session, type="session.update", session=other)
    assert error["code"] == "cannot_update_voice"


def test_sound_can_be_appended_committed_and_cleared() -> None:
    """A client without a microphone track speaks by events, and manual turns end by commit."""
    session = RealtimeSession()
    appended = say(session, type="input_audio_buffer.append", audio=HALF_SECOND)
    assert (appended.events, appended.commands) == ([], [AppendAudio(bytes(24_000))])
    committed = say(session, type="input_audio_buffer.commit")
    item_id = committed.events[0]["item_id"]
    assert kinds(committed.events) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert committed.commands == [CommitInput(item_id)]
    say(session, type="input_audio_buffer.append", audio=HALF_SECOND)
    cleared = say(session, type="input_audio_buffer.clear")
    assert kinds(cleared.events) == ["input_audio_buffer.cleared"]
    assert cleared.commands == [ClearInput()]
    assert refused(session, type="input_audio_buffer.commit")["code"] == (
        "input_audio_buffer_commit_empty"
    )


@pytest.mark.parametrize("audio", ["not base64!", "AAAA", "A"])
def test_sound_that_is_none_is_refused(audio: str) -> None:
    """Bad base64 and half samples are refused by name."""
    error = refused(RealtimeSession(), type="input_audio_buffer.append", audio=audio)
    assert (error["code"], error["param"]) == ("invalid_value", "audio")


def test_heard_sound_counts_for_a_commit() -> None:
    """Frames of the media track fill the buffer that a commit empties."""
    session = RealtimeSession()
    for _ in range(4):
        session.input_audio(20)
    assert refused(session, type="input_audio_buffer.commit")["code"]
    session.input_audio(20)
    assert ask(session, type="input_audio_buffer.commit")
    assert refused(session, type="input_audio_buffer.commit")["code"]


def test_items_stand_where_they_are_put() -> None:
    """At the end, at the root, or after another; each event says what stands before."""
    session = RealtimeSession()
    first = _item(session, _user("1"))
    last = _item(session, _user("3"))
    middle = _item(session, _user("2"), previous_item_id=first)
    root = _item(session, _user("0", id="mine"), previous_item_id="root")
    assert _order(session) == ["mine", first, middle, last]
    assert root == "mine"
    added, done = ask(session, type="conversation.item.create", item=_user("4"))
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["previous_item_id"] == done["previous_item_id"] == last
    assert added["item"]["status"] == "completed"


def test_the_agent_gets_the_item_with_its_sound_and_clients_see_it_without() -> None:
    """Sound a client brings along goes to the agent and is not sent back."""
    session = RealtimeSession()
    content = [{"type": "input_audio", "audio": HALF_SECOND}]
    item = {"type": "message", "role": "user", "content": content}
    reaction = say(session, type="conversation.item.create", item=item)
    (command,) = reaction.commands
    assert isinstance(command, CreateItem)
    assert command.item["content"][0]["audio"] == HALF_SECOND
    assert reaction.events[0]["item"]["content"] == [{"type": "input_audio", "transcript": None}]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"item": {"type": "message", "role": "user", "content": []}}, "invalid_value"),
        ({"item": {"type": "message", "role": "owner", "content": []}}, "invalid_value"),
        ({"item": {"type": "poem"}}, "invalid_value"),
        ({"item": {}}, "missing_required_parameter"),
        ({"item": _user("x", id="a b")}, "invalid_value"),
        ({"item": _user("x", id="there")}, "item_create_duplicate_id"),
        (
            {"item": _user("x"), "previous_item_id": "gone"},
            "item_create_invalid_previous_item_id",
        ),
        (
            {"item": {"type": "function_call_output", "call_id": "gone", "output": ""}},
            "invalid_tool_call_id",
        ),
    ],
)
def test_items_that_cannot_be_are_refused(event: dict[str, Any], code: str) -> None:
    """A refused item leaves the conversation as it was."""
    session = RealtimeSession()
    _item(session, _user("x", id="there"))
    error = refused(session, type="conversation.item.create", event_id="e1", **event)
    assert (error["code"], error["event_id"]) == (code, "e1")
    assert _order(session) == ["there"]


def test_the_result_of_a_call_is_an_item() -> None:
    """A function call output is taken for a call the conversation has."""
    session = RealtimeSession()
    check(session.response_created())
    call_id, _ = session.function_call_started("get_time")
    session.response_done()
    output = {"type": "function_call_output", "call_id": call_id, "output": "12:00"}
    reaction = say(session, type="conversation.item.create", item=output)
    (command,) = reaction.commands
    assert isinstance(command, CreateItem)
    assert command.item["output"] == "12:00"


def test_items_are_retrieved_and_deleted_by_id() -> None:
    """Retrieve shows the item as it is; after delete there is none."""
    session = RealtimeSession()
    item_id = _item(session, _user("hello"))
    (shown,) = ask(session, type="conversation.item.retrieve", item_id=item_id)
    assert shown["type"] == "conversation.item.retrieved"
    assert shown["item"]["content"] == [{"type": "input_text", "text": "hello"}]
    reaction = say(session, type="conversation.item.delete", item_id=item_id)
    assert kinds(reaction.events) == ["conversation.item.deleted"]
    assert reaction.commands == [DeleteItem(item_id)]
    for doing in ("delete", "retrieve"):
        error = refused(session, type=f"conversation.item.{doing}", item_id=item_id)
        assert error["code"] == f"item_{doing}_invalid_item_id"


def test_truncation_is_checked_against_what_was_sent() -> None:
    """More than left for the caller is refused; less drops the words that were not heard."""
    session = RealtimeSession()
    item_id = answering(session)
    session.message_delta("one two three four ", 0)
    session.message_delta("five six", 400)
    session.audio_queued(item_id, 600)
    session.audio_sent(item_id, 500)
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
    error = refused(session, **truncate, audio_end_ms=501)
    assert error["code"] == "invalid_value"
    assert error["message"] == "Audio content of 500ms is already shorter than 501ms"
    reaction = say(session, **truncate, audio_end_ms=200)
    assert kinds(reaction.events) == ["conversation.item.truncated"]
    assert reaction.commands == [TruncateItem(item_id, 200, "one two")]
    assert refused(session, **truncate, audio_end_ms=201)["code"] == "invalid_value"
    session.response_done()
    (shown,) = ask(session, type="conversation.item.retrieve", item_id=item_id)
    assert shown["item"]["content"] == [{"type": "output_audio", "transcript": "one two"}]


def test_only_speech_of_the_assistant_can_be_truncated() -> None:
    """Text, the caller's own items, other parts and unknown items are refused."""
    session = RealtimeSession()
    item_id = _item(session, _user("hello"))
    truncate = {"type": "conversation.item.truncate", "audio_end_ms": 0}
    error = refused(session, **truncate, item_id=item_id, content_index=0)
    assert error["code"] == "unsupported_content_type"
    error = refused(session, **truncate, item_id="gone", content_index=0)
    assert error["code"] == "item_truncate_invalid_item_id"
    spoken = answering(session)
    error = refused(session, **truncate, item_id=spoken, content_index=1)
    assert error["param"] == "content_index"


def test_a_response_is_created_once_at_a_time() -> None:
    """response.create is answered at once and handed to the agent; a second one is refused."""
    session = RealtimeSession()
    reaction = say(session, type="response.create")
    assert kinds(reaction.events) == ["response.created"]
    (command,) = reaction.commands
    assert isinstance(command, CreateResponse)
    assert session.active is not None
    assert session.active.id == command.response_id
    error = refused(session, type="response.create", event_id="e2")
    assert error["code"] == "conversation_already_has_active_response"
    session.response_done()
    assert ask(session, type="response.create")


def test_a_response_takes_its_own_options_over_the_sessions() -> None:
    """What response.create leaves out is as the session has it."""
    session = RealtimeSession('{"instructions":"Be brief.","max_output_tokens":7}')
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    reaction = say(
        session,
        type="response.create",
        response={
            "conversation": "none",
            "output_modalities": ["text"],
            "tools": [tool],
            "tool_choice": {"type": "function", "name": "f"},
            "max_output_tokens": "inf",
            "metadata": {"topic": "x"},
            "input": [_user("What is it?")],
        },
    )
    (command,) = reaction.commands
    assert isinstance(command, CreateResponse)
    options = command.options
    assert (options.instructions, options.modality) == ("Be brief.", "text")
    assert (options.tools, options.max_output_tokens) == ((tool,), None)
    assert options.context is not None
    assert options.context[0]["content"][0]["text"] == "What is it?"
    shown = reaction.events[0]["response"]
    assert (shown["conversation_id"], shown["metadata"]) == (None, {"topic": "x"})


def test_a_reference_stands_for_an_item_of_the_conversation() -> None:
    """response.input may name items; an unknown one is refused."""
    session = RealtimeSession()
    item_id = _item(session, _user("hello"))
    reference = {"type": "item_reference", "id": item_id}
    reaction = say(session, type="response.create", response={"input": [reference]})
    (command,) = reaction.commands
    assert isinstance(command, CreateResponse)
    assert command.options.context == (session.conversation.items[0],)
    session.response_done()
    gone = {"input": [{"type": "item_reference", "id": "gone"}]}
    assert refused(session, type="response.create", response=gone)["code"] == (
        "item_reference_invalid_item_id"
    )
    assert session.active is None


def test_cancelling_asks_the_agent_and_nothing_else() -> None:
    """The response ends when the agent says so; without one, or with another id, it is refused."""
    session = RealtimeSession()
    assert refused(session, type="response.cancel")["code"] == "response_cancel_not_active"
    check(session.response_created())
    assert session.active is not None
    error = refused(session, type="response.cancel", response_id="resp_other")
    assert error["code"] == "response_cancel_not_active"
    reaction = say(session, type="response.cancel", response_id=session.active.id)
    assert (reaction.events, reaction.commands) == ([], [CancelResponse(session.active.id)])


def test_clearing_the_output_asks_the_agent() -> None:
    """The client hears of it when the agent has done it."""
    reaction = say(RealtimeSession(), type="output_audio_buffer.clear")
    assert (reaction.events, reaction.commands) == ([], [ClearOutput()])


def _told(session: RealtimeSession, turn: int, rtt_ms: float = 12.5) -> None:
    network = {"rtt_ms": rtt_ms, "jitter_buffer_ms": None}
    session.turn_told({"turn": turn, "network": network})


def test_a_client_reports_on_a_turn() -> None:
    """Once a turn; what it measured stands beside what the server knew."""
    session = RealtimeSession()
    _told(session, 3)
    report = {"type": "trunkline.client_report", "turn": 3, "rtt_ms": 20, "jitter_buffer_ms": 41.5}
    reaction = session.client_event(json.dumps(report))
    (event,) = reaction.events
    assert (event["type"], event["turn"]) == ("trunkline.turn_network", 3)
    assert event["network"] == {
        "rtt_ms": 12.5,
        "jitter_buffer_ms": None,
        "client_rtt_ms": 20,
        "client_jitter_buffer_ms": 41.5,
    }
    assert reaction.commands == [NoteClientNetwork(3, 20, 41.5)]
    assert refused(session, **report)["param"] == "turn"


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({}, "missing_required_parameter", "turn"),
        ({"turn": 4}, "invalid_value", "turn"),
        ({"turn": "3"}, "invalid_type", "turn"),
        ({"turn": True}, "invalid_type", "turn"),
        ({"turn": 3, "rtt_ms": "20"}, "invalid_type", "rtt_ms"),
        ({"turn": 3, "rtt_ms": -1}, "invalid_value", "rtt_ms"),
        ({"turn": 3, "rtt_ms": 1e300}, "invalid_value", "rtt_ms"),
        ({"turn": 3, "jitter_buffer_ms": 60_001}, "invalid_value", "jitter_buffer_ms"),
        ({"turn": 3, "jitter_buffer_ms": []}, "invalid_type", "jitter_buffer_ms"),
        ({"turn": 3, "address": "x"}, "unknown_parameter", "address"),
    ],
)
def test_a_malformed_report_is_refused(members: dict[str, Any], code: str, param: str) -> None:
    """By the id of its event, and the turn can still be reported on."""
    session = RealtimeSession()
    _told(session, 3)
    error = refused(session, type="trunkline.client_report", event_id="mine", **members)
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
    assert session.client_event('{"type":"trunkline.client_report","turn":3}').commands


@pytest.mark.parametrize("reported_first", [False, True])
def test_a_turn_that_is_told_twice_is_reported_on_once(reported_first: bool) -> None:
    """After either telling; the answer has what the server said last."""
    session = RealtimeSession()
    _told(session, 3, 10.0)
    report = {"type": "trunkline.client_report", "turn": 3}
    told = session.client_event(json.dumps(report)).events if reported_first else []
    _told(session, 3, 20.0)
    if reported_first:
        assert told[0]["network"]["rtt_ms"] == 10.0
    else:
        (event,) = session.client_event(json.dumps(report)).events
        assert event["network"]["rtt_ms"] == 20.0
    _told(session, 3)
    assert refused(session, **report)["param"] == "turn"


def test_turns_that_are_told_twice_are_remembered_once() -> None:
    """So the bound is one of turns."""
    session = RealtimeSession()
    for turn in range(MAX_TURNS):
        _told(session, turn)
        _told(session, turn)
    assert session.client_event('{"type":"trunkline.client_report","turn":0}').commands


def test_turns_that_await_a_report_are_bounded() -> None:
    """The oldest is forgotten."""
    session = RealtimeSession()
    for turn in range(MAX_TURNS + 1):
        _told(session, turn)
    assert refused(session, type="trunkline.client_report", turn=0)["code"] == "invalid_value"
    assert session.client_event('{"type":"trunkline.client_report","turn":1}').commands


@pytest.mark.parametrize(
    ("text", "code", "event_id"),
    [
        ("", "invalid_json", None),
        ("{", "invalid_json", None),
        ('{"type":"session.update","x":NaN}', "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ('{"type":"response.cancel","event_id":"\\ud800"}', "invalid_json", None),
        ("[]", "invalid_event", None),
        ("{}", "missing_required_parameter", None),
        ('{"type":null,"event_id":"e"}', "missing_required_parameter", "e"),
        ('{"type":7,"event_id":"e"}', "invalid_type", "e"),
        ('{"type":"conversation.item.bake","event_id":"e"}', "invalid_value", "e"),
        ('{"type":"response.cancel","event_id":7}', "invalid_type", None),
        ('{"type":"response.cancel","event_id":"e","also":1}', "unknown_parameter", "e"),
    ],
)
def test_what_is_no_event_is_answered(text: str, code: str, event_id: str | None) -> None:
    """Unknown and malformed events get an error with the offending id, and the call goes on."""
    session = RealtimeSession()
    (event,) = check(session.client_event(text).events)
    assert (event["error"]["code"], event["error"]["event_id"]) == (code, event_id)
    assert ask(session, type="response.create")


def test_an_endless_event_id_is_cut() -> None:
    """An error quotes at most as much of an id as ids may have."""
    error = refused(RealtimeSession(), type="nope", event_id="e" * 10_000)
    assert error["event_id"] == "e" * 512
