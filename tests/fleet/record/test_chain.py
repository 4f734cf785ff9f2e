"""Events of one source: numbered, chained, with content that can be taken away."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.record.backlog import LARGEST_EVENT_BYTES
from fleet.record.chain import MAX_CONTENT_BYTES, Chain, fit
from trunkline.v1 import record_pb2 as pb


def test_each_event_names_the_one_before() -> None:
    """By the hash of its bytes; the first names none."""
    chain = Chain("rtc_1", "transceiver-0-a")
    written = [
        chain.add(pb.ORIGIN_TRANSCEIVER, 5, 1, "", {"fault": pb.Fault(kind=kind)}).event
        for kind in ("A", "B", "C")
    ]
    events = [pb.Event.FromString(body) for body in written]
    assert [event.number for event in events] == [1, 2, 3]
    assert events[0].previous == b""
    assert [event.previous for event in events[1:]] == [
        hashlib.sha256(body).digest() for body in written[:2]
    ]


def test_content_is_beside_the_event() -> None:
    """The event has a salted hash: the same words twice do not look the same."""
    chain = Chain("rtc_1", "s")
    first, second = (
        chain.add(pb.ORIGIN_BACKEND, 5, 1, "yes", {"item": pb.Item(item_id="i")}) for _ in "ab"
    )
    events = [pb.Event.FromString(envelope.event) for envelope in (first, second)]
    assert b"yes" not in first.event
    assert events[0].content_hash == hashlib.sha256(first.salt + b"yes").digest()
    assert events[0].content_hash != events[1].content_hash


def test_what_is_left_out_has_a_number() -> None:
    """So that a reader sees that something is missing."""
    chain = Chain("rtc_1", "s")
    chain.leave_out()
    envelope = chain.add(pb.ORIGIN_TRANSCEIVER, 5, 1, "", {"fault": pb.Fault()})
    assert pb.Event.FromString(envelope.event).number == 2


@given(st.text(max_size=40).map(lambda text: text * 800))
def test_any_content_fits(content: str) -> None:
    """Every store takes it, and an event with it fits where events wait."""
    kept = fit(content)
    assert len(kept.encode()) <= MAX_CONTENT_BYTES
    assert "\0" not in kept
    envelope = Chain("rtc_1", "s").add(pb.ORIGIN_BACKEND, 5, 1, content, {"item": pb.Item()})
    assert envelope.ByteSize() < LARGEST_EVENT_BYTES


@pytest.mark.parametrize("content", ["", "a", "\N{SNOWMAN}" * 10_000])
def test_what_fits_is_left_alone(content: str) -> None:
    """Nothing is cut without need."""
    assert fit(content) == content
