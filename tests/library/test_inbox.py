"""What a handler has not looked at yet is bounded."""

from __future__ import annotations

from trunkline.backend import inbox
from trunkline.backend.events import Audio, Binary, Playout, Text
from trunkline.backend.inbox import Inbox


def _frame(rtp_time: int) -> Audio:
    return Audio(b"x", rtp_time, 960, 0)


def _drain(box: Inbox) -> list[object]:
    return list(iter(box.take, None))


def test_events_keep_their_order() -> None:
    """Audio, messages and reports come out as they went in."""
    box = Inbox()
    events = [_frame(1), Text("l", "t"), Playout(1), Binary("l", b"b"), _frame(2)]
    box.put_audio(_frame(1))
    box.put_message(Text("l", "t"), 1)
    box.put_playout(Playout(1))
    box.put_message(Binary("l", b"b"), 1)
    box.put_audio(_frame(2))
    assert _drain(box) == events
    assert box.take() is None


def test_the_oldest_frame_is_dropped_and_no_message() -> None:
    """At the bound audio loses its oldest frame, also from behind a message."""
    box = Inbox(max_frames=2)
    box.put_message(Text("l", "first"), 5)
    for rtp_time in range(5):
        box.put_audio(_frame(rtp_time))
    assert box.dropped_frames == 3
    assert len(box) == 3
    assert _drain(box) == [Text("l", "first"), _frame(3), _frame(4)]


def test_room_returns_as_events_are_taken() -> None:
    """A reader that keeps up never loses a frame nor a message."""
    box = Inbox(max_frames=1, max_messages=1)
    for rtp_time in range(10):
        box.put_audio(_frame(rtp_time))
        assert box.put_message(Text("l", "t"), inbox.MAX_MESSAGE_BYTES)
        assert _drain(box) == [_frame(rtp_time), Text("l", "t")]
    assert box.dropped_frames == 0


def test_messages_beyond_the_bound_are_refused() -> None:
    """Too many messages, or too many bytes of them, are refused and not stored."""
    few = Inbox(max_messages=2)
    assert [few.put_message(Text("l", "t"), 1) for _ in range(3)] == [True, True, False]
    small = Inbox()
    half = inbox.MAX_MESSAGE_BYTES // 2 + 1
    assert [small.put_message(Text("l", "t"), half) for _ in range(2)] == [True, False]
    assert (len(few), len(small)) == (2, 1)


def test_reports_merge_into_the_newest() -> None:
    """However many playouts come, one waits: the newest, in the place of the first."""
    box = Inbox()
    for sent in range(100):
        box.put_playout(Playout(sent))
        box.put_audio(_frame(sent)) if sent == 50 else None
    assert _drain(box) == [Playout(99), _frame(50)]
    box.put_playout(Playout(100))
    assert _drain(box) == [Playout(100)]
