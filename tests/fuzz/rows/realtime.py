"""Events of OpenAI's Realtime protocol: a page's over its data channel, an upstream's back."""

from __future__ import annotations

import json
from collections.abc import Iterable

from backends.openai_realtime.known import Known
from backends.openai_realtime.translate import Translator, parsed
from backends.realtime import RealtimeSession, ServerEvent, to_text
from fleet.page_policy import DEFAULT
from tests.fuzz.mutation import words
from tests.fuzz.row import Reader, Row, made, plain
from tests.fuzz.rows.http import _SESSIONS, JSON_BREAKS, JSON_WORDS, _nested
from transceiver.data.channels import MAX_BUFFERED_MESSAGES
from transceiver.signaling.realtime_calls import MAX_SESSION_BYTES

MESSAGE_BYTES = 256 * 1024  # of a data-channel message, and of a side band's
_TEXT = {"type": "input_text", "text": "hi"}
_MESSAGE = {"type": "message", "role": "user", "content": [_TEXT]}
_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
_AUDIO = {"input": {"turn_detection": {"type": "semantic_vad"}}, "output": {"voice": "x"}}
_EVENTS = (
    {"type": "session.update", "session": {"type": "realtime", "tools": [_TOOL], "audio": _AUDIO}},
    {"type": "input_audio_buffer.append", "audio": "AAAA" * 1600},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": {"id": "item_1", **_MESSAGE}},
    {"type": "conversation.item.create", "previous_item_id": "root", "item": _MESSAGE},
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "function_call_output", "call_id": "c", "output": "1"},
    },
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 5,
    },
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.create", "response": {"input": [_MESSAGE], "tools": [_TOOL]}},
    {"type": "response.create", "event_id": "e"},
    {"type": "response.cancel"},
    {"type": "trunkline.client_report", "turn": 1, "rtt_ms": 20.5, "jitter_buffer_ms": None},
)
_UPSTREAM = (
    {"type": "session.created", "session": {"audio": _AUDIO}},
    {"type": "response.output_audio.delta", "delta": "AAAA", "item_id": "i", "response_id": "r"},
    {"type": "response.output_audio.done", "item_id": "i"},
    {"type": "input_audio_buffer.speech_started"},
    {"type": "response.done", "response": {"id": "r", "usage": {"input_tokens": 1}}},
)


def _as_bytes(events: Iterable[object]) -> tuple[bytes, ...]:
    return tuple(json.dumps(event).encode() for event in events)


def _sent(events: list[ServerEvent]) -> None:
    """What a caller is told must be JSON that it can read."""
    for event in events:
        json.loads(to_text(event).encode())


def _session() -> Reader:
    sessions = RealtimeSession(), RealtimeSession(page_may_set=DEFAULT)

    def read(data: bytes) -> None:
        for session in sessions:
            _said(session, data)

    return read


def _said(session: RealtimeSession, data: bytes) -> None:
    if session.active is None and len(data) % 7 == 0:
        session.response_created()
    _sent(session.client_event(data.decode("utf-8", "replace")).events)
    if session.active is not None and len(data) % 5 == 0:
        session.response_done("cancelled")


def _opened(data: bytes) -> None:
    _sent(RealtimeSession(data.decode("utf-8", "replace")).opened())


def _translator() -> Reader:
    translator, known = Translator(), Known()

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        if (event := parsed(text)) is not None:
            known.told(event)
            known.heard(event)
            known.openings()
        translator.from_upstream(text)
        translator.from_caller(text)
        translator.opening(text)

    return read


def _events(size: int) -> Iterable[bytes]:
    """Each kind of list, object and text that an event may have, as long as it gets."""
    yield from _nested(size)
    for head, one, tail in (
        (b'{"type":"session.update"', b',"x%06d":0', b"}"),
        (b'{"type":"session.update","session":{"type":"realtime"', b',"x%06d":0', b"}}"),
        (b'{"type":"response.create","response":{"metadata":{"a":"b"', b',"x%06d":""', b"}}}"),
        (
            b'{"type":"session.update","session":{"type":"realtime","tools":[{}',
            b',{"name":"f%06d"}',
            b"]}}",
        ),
        (
            b'{"type":"conversation.item.create","item":{"type":"message","role":"user",'
            b'"content":[{}',
            b',{"type":"%07d"}',
            b"]}}",
        ),
        (b'{"type":"response.create","response":{"input":[{}', b',{"type":"%07d"}', b"]}}"),
    ):
        count = max(1, (size - len(head) - len(tail)) // len(one % 0))
        yield head + b"".join(one % number for number in range(count)) + tail
    for head, tail in (
        (b'{"type":"', b'"}'),
        (b'{"type":"input_audio_buffer.append","audio":"', b'"}'),
        (b'{"type":"response.cancel","response_id":"', b'"}'),
        (b'{"type":"session.update","session":{"type":"realtime","instructions":"', b'"}}'),
    ):
        yield head + b"A" * ((size - len(head) - len(tail)) // 4 * 4) + tail


_WORDS = (
    *JSON_WORDS,
    *(b'"%s"' % str(event["type"]).encode() for event in _EVENTS),
    *(
        b'"item_1"',
        b'"root"',
        b'"inf"',
        b'"message"',
        b'"assistant"',
        b'"system"',
        b'"output_text"',
    ),
    *(b'"server_vad"', b'"function"', b'"item_reference"', b"2147483648", b"1e30", b'"AA="'),
)

ROWS = (
    Row(
        name="Realtime events",
        where="backends/realtime/client_events.py",
        who="pages and application servers",
        largest=MESSAGE_BYTES,
        steps=8_000,
        becomes="one `error` event that names what is wrong",
        open=made(_session),
        seeds=_as_bytes(_EVENTS),
        worst=_events,
        mutate=words(_WORDS, JSON_BREAKS, _as_bytes(_EVENTS)),
        weight=6,
        renew_after=MAX_BUFFERED_MESSAGES,
    ),
    Row(
        name="Realtime sessions",
        where="backends/realtime/initial.py",
        who="callers and pages",
        largest=MAX_SESSION_BYTES,
        steps=6_000,
        becomes="the defaults, and one `error` event",
        open=plain(_opened),
        seeds=(*_SESSIONS, *(json.dumps(e.get("session", {})).encode() for e in _EVENTS[:2])),
        worst=_events,
        mutate=words(_WORDS, JSON_BREAKS, _SESSIONS),
        weight=2,
    ),
    Row(
        name="events of an upstream",
        where="backends/openai_realtime/translate.py",
        who="the Realtime API behind a backend, and pages",
        largest=MESSAGE_BYTES,
        steps=4_000,
        becomes="passed over; a page's are answered with an `error` event",
        open=made(_translator),
        seeds=_as_bytes((*_UPSTREAM, *_EVENTS[:6])),
        worst=_events,
        mutate=words(_WORDS, JSON_BREAKS, _as_bytes(_UPSTREAM)),
        weight=4,
    ),
)
