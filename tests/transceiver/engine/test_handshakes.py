"""The queue of DTLS datagrams that wait behind the media."""

from __future__ import annotations

from transceiver.engine.handshakes import MAX_WAITING, MAX_WAITING_PER_CALL, HandshakeQueue


def test_calls_take_turns() -> None:
    """One datagram of each call, in the order of their calls, then the next of each."""
    queue: HandshakeQueue[str] = HandshakeQueue()
    for call, packet in (("a", b"1"), ("a", b"2"), ("a", b"3"), ("b", b"4"), ("c", b"5")):
        assert queue.add(call, b"address", packet)
    taken = [queue.take() for _ in range(6)]
    assert [entry and entry[2] for entry in taken] == [b"1", b"4", b"5", b"2", b"3", None]


def test_a_call_has_a_bound() -> None:
    """One call's flood is refused at its bound, and takes no place from another."""
    queue: HandshakeQueue[str] = HandshakeQueue()
    kept = [queue.add("loud", b"", b"x") for _ in range(MAX_WAITING_PER_CALL + 5)]
    assert kept.count(True) == MAX_WAITING_PER_CALL == len(queue)
    assert queue.add("quiet", b"", b"y")


def test_the_whole_has_a_bound() -> None:
    """No more than `MAX_WAITING` datagrams wait, whoever sent them; taking one makes room."""
    queue: HandshakeQueue[int] = HandshakeQueue()
    assert all(queue.add(call, b"", b"x") for call in range(MAX_WAITING))
    assert not queue.add(MAX_WAITING, b"", b"x")
    assert queue.take() is not None
    assert queue.add(MAX_WAITING, b"", b"x")


def test_a_call_that_ended_leaves_nothing() -> None:
    """What waited for it is gone and counts no more."""
    queue: HandshakeQueue[str] = HandshakeQueue()
    queue.add("a", b"", b"1")
    queue.add("b", b"", b"2")
    queue.forget("a")
    queue.forget("never there")
    assert len(queue) == 1
    assert queue.take() == ("b", b"", b"2")
    assert queue.take() is None
