"""A story says of a call what its events say, and never raises."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from records.diagnosis.facts import Before
from records.diagnosis.story import Story, tell
from tests.records.diagnosis.kit import IN, OUT, healthy
from trunkline.v1 import record_pb2 as pb

STORY = TypeAdapter(Story)


def test_what_a_story_says() -> None:
    """Head, end in words, media by direction, turns with what was said and used."""
    call = healthy()
    call.at(
        16,
        usage=pb.UsageReport(
            model="m-1-2026",
            provider="acme",
            response_id="r2",
            price=0.5,
            amounts=[pb.Amount(kind=pb.USAGE_KIND_TEXT_INPUT_TOKENS, amount=40)],
        ),
    )
    call.at(20, moved=pb.Moved(kind=pb.MOVE_KIND_LEFT, from_node=17, to_node=3))
    call.at(
        *(20.1, "", "transceiver-3-b"),
        moved=pb.Moved(kind=pb.MOVE_KIND_PLANNED, from_node=17, to_node=3, gap_ms=38),
    )
    call.media(35, IN, packets=480, lost=20)
    call.ends(40)
    story = call.story()
    assert (story.state, story.ending.words) == ("ended", "The caller ended it.")
    assert (story.head.tenant, story.head.nodes, story.head.model) == ("acme", (17, 3), "m-1-2026")
    assert story.head.setup.dtls_connected_ms == 200
    came, sent = story.media
    assert (came.direction, came.packets, came.lost) == ("from_caller", 1980, 20)
    assert (came.lost_share, came.worst_lost_share) == (0.01, 0.04)
    assert (sent.direction, sent.round_trip_ms) == ("to_caller", 30)
    first, second = story.turns
    assert (first.said, first.answer) == ("Where is my parcel?", "It left.")
    assert first.stages["first_words"] == 310
    assert (first.voice_to_voice_ms, dict(first.usage)) == (410, {})
    assert dict(second.usage) == {"text_input_tokens": 40}
    assert [(one.from_node, one.to_node, one.gap_ms) for one in story.moves] == [(17, 3, 38)]
    assert story.usage[0].price == 0.5
    assert story.events == len(call.events)


def test_a_live_call() -> None:
    """It has no end yet, and lasts until its last event."""
    story = healthy(40).story()
    assert (story.state, story.ending.words) == ("live", "The call is live.")
    assert story.lasted_s == 30


def test_a_gap_that_is_told_twice_is_one() -> None:
    """First while it lasts, then when it is over."""
    call = healthy()
    call.at(20.1, gap=pb.Gap(direction=OUT, length_ms=100))
    call.at(20.4, gap=pb.Gap(direction=OUT, length_ms=400, over=True))
    call.at(25, gap=pb.Gap(direction=OUT, length_ms=70, over=True))
    sent = call.story().media[1]
    assert (sent.gaps, sent.longest_gap_ms) == (2, 400)


FLOATS = st.floats(allow_nan=True, allow_infinity=True)
KINDS = [field.name for field in pb.Event.DESCRIPTOR.oneofs_by_name["body"].fields]


def _value(field) -> st.SearchStrategy:  # type: ignore[no-untyped-def]
    if field.message_type:
        return _message(field.message_type)
    by_type = {
        field.TYPE_DOUBLE: FLOATS,
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_STRING: st.sampled_from(["", "a", "llm: timeout", "stt", "empty", "10.0.0.0/8"]),
        field.TYPE_BYTES: st.binary(max_size=4),
        field.TYPE_ENUM: st.integers(0, 16),
        field.TYPE_UINT32: st.one_of(st.integers(0, 4), st.integers(0, 2**32 - 1)),
        field.TYPE_UINT64: st.one_of(st.integers(0, 4), st.integers(0, 2**64 - 1)),
        field.TYPE_INT64: st.one_of(st.integers(0, 10**8), st.integers(-(2**63), 2**63 - 1)),
    }
    return by_type[field.type]


def _message(descriptor) -> st.SearchStrategy:  # type: ignore[no-untyped-def]
    made = getattr(pb, descriptor.name)
    fields = {
        field.name: st.lists(_value(field), max_size=2) if field.is_repeated else _value(field)
        for field in descriptor.fields
        if field.containing_oneof is None or field.containing_oneof.name != "body"
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda told: made(**told))


def _event(kind: str) -> st.SearchStrategy[pb.Event]:
    body = _message(pb.Event.DESCRIPTOR.fields_by_name[kind].message_type)
    return st.tuples(_message(pb.Event.DESCRIPTOR), body).map(
        lambda pair: _with(pair[0], kind, pair[1])
    )


def _with(event: pb.Event, kind: str, body: object) -> pb.Event:
    getattr(event, kind).CopyFrom(body)
    return event


EVENTS = st.lists(
    st.one_of(_message(pb.Event.DESCRIPTOR), st.sampled_from(KINDS).flatmap(_event)), max_size=12
)


@settings(deadline=None, max_examples=300)
@given(EVENTS, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
def test_no_events_make_it_raise(events: list[pb.Event], changed_us: int | None) -> None:
    """Whatever comes, it is a story, and one that JSON can say (which has no NaN)."""
    story = tell(events, {}, Before(changed_us))
    text = STORY.dump_json(story)
    assert json.loads(text, parse_constant=_no_constant)["events"] == len(events)


def _no_constant(name: str) -> object:
    raise AssertionError(f"JSON has no {name}")
