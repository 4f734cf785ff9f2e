"""Client datagrams in two trunk frames come out as one, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import trunk
from wire.address import pack_address
from wire.errors import WireError
from wire.keys import KeyRing
from wire.rejoin import Rejoin
from wire.trunk import Datagram, FrameType, Tagger

TAGGER = Tagger(KeyRing(3, {3: b"k" * 32}))
CLIENT, OTHER = pack_address("203.0.113.7", 40000), pack_address("203.0.113.8", 40000)
WHOLE = (OTHER, b"whole")


def head(count: int, sender: int = 1, address: bytes = CLIENT) -> Datagram:
    return Datagram(sender, 0, count, ((address, b"first "),), FrameType.HEAD)


def tail(count: int, *others: tuple[bytes, bytes], sender: int = 1) -> Datagram:
    return Datagram(sender, 0, count, ((CLIENT, b"rest"), *others), FrameType.TAIL)


def plain(count: int, sender: int = 1) -> Datagram:
    return Datagram(sender, 0, count, (WHOLE,))


@pytest.mark.parametrize("count", [0, 7, 0xFFFFFFFF])
def test_head_and_tail_are_one_datagram(count: int) -> None:
    """Also where the count wraps, with another sender's datagrams between, and before others."""
    rejoin = Rejoin()
    assert rejoin.frames(head(count)) == ((), 0)
    assert rejoin.frames(plain(count, sender=2)) == ((WHOLE,), 0)
    joined = ((CLIENT, b"first rest"), WHOLE)
    assert rejoin.frames(tail(count + 1 & 0xFFFFFFFF, WHOLE)) == (joined, 0)
    assert len(rejoin) == 0


@pytest.mark.parametrize(
    "before",
    [[], [head(4)], [head(6)], [head(5, address=OTHER)], [head(5, sender=2)], [head(5), plain(5)]],
    ids=["none", "older", "newer", "another client's", "another sender's", "given up"],
)
def test_a_tail_without_its_head_is_lost_and_nothing_else(before: list[Datagram]) -> None:
    """The frames behind it are of others, and reach them."""
    rejoin = Rejoin()
    for datagram in before:
        rejoin.frames(datagram)
    assert rejoin.frames(tail(6, WHOLE)) == ((WHOLE,), 1)


def test_a_head_whose_tail_never_comes_is_counted_once() -> None:
    """By the sender's next datagram, whatever that is."""
    rejoin = Rejoin()
    assert rejoin.frames(head(1)) == ((), 0)
    assert rejoin.frames(head(2)) == ((), 1)
    assert rejoin.frames(plain(3)) == ((WHOLE,), 1)
    assert rejoin.frames(plain(4)) == ((WHOLE,), 0)


@pytest.mark.parametrize("kind", sorted(trunk.CONTROL))
def test_control_frames_are_no_client_datagrams(kind: FrameType) -> None:
    """They join nothing; a head that waited for the sender's next datagram is lost by them."""
    rejoin = Rejoin()
    rejoin.frames(head(1))
    assert rejoin.frames(Datagram(1, 0, 2, (WHOLE,), kind)) == ((), 1)
    assert rejoin.frames(Datagram(1, 0, 3, (WHOLE,), kind)) == ((), 0)


def test_heads_are_bounded() -> None:
    """The oldest goes first."""
    rejoin = Rejoin(max_senders=3)
    for sender in range(9):
        rejoin.frames(head(1, sender))
    assert len(rejoin) == 3
    assert rejoin.frames(tail(2, sender=8)) == (((CLIENT, b"first rest"),), 0)
    assert rejoin.frames(tail(2, sender=5)) == ((), 1)


def test_parts_stand_where_they_belong() -> None:
    """A head beside others, or a tail behind others, is no datagram of ours."""
    frames = [(CLIENT, b"a"), WHOLE]
    read = trunk.read(TAGGER, trunk.pack(TAGGER, 1, 2, 3, frames[:1], FrameType.HEAD))
    assert read.first is FrameType.HEAD
    read = trunk.read(TAGGER, trunk.pack(TAGGER, 1, 2, 3, frames, FrameType.TAIL))
    assert (read.first, read.frames) == (FrameType.TAIL, tuple(frames))
    with pytest.raises(WireError, match="trunk_frame_type"):
        trunk.read(TAGGER, trunk.pack(TAGGER, 1, 2, 3, frames, FrameType.HEAD))


entry = st.tuples(
    st.binary(min_size=18, max_size=18),
    st.integers(0, 0xFFFF) | st.integers(0, 30),
    st.sampled_from([1, 1, 1, 2, 3, 4, 5, 6, 7]).map(lambda kind: kind << 24)
    | st.integers(0, 0xFFFFFFFF),
)


@given(
    origins=st.lists(
        st.tuples(
            st.integers(0, 3) | st.integers(0, 0xFFFFFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 3) | st.integers(0, 0xFFFFFFFF),
            st.lists(entry, max_size=4) | st.lists(entry, min_size=50, max_size=255),
            st.binary(max_size=120) | st.none(),
        ),
        max_size=6,
    )
)
def test_whatever_a_correct_tag_covers(origins) -> None:  # type: ignore[no-untyped-def]
    """Every value of header and table is read or refused by a reason, and parts stay bounded."""
    rejoin = Rejoin(max_senders=2)
    for sender, time_s, count, entries, expected in origins:
        fitting = bytes(sum(length for _, length, _ in entries))
        payload = fitting if expected is None else expected
        tagged = trunk._ORIGIN.pack(sender, time_s, count) + b"".join(
            trunk._ENTRY.pack(*fields) for fields in entries
        )
        lead = trunk._LEAD.pack(trunk.VERSION, TAGGER.key_id, len(entries))
        data = lead + TAGGER.tag(tagged) + tagged + payload
        try:
            read = trunk.read(TAGGER, data)
        except WireError as error:
            assert error.reason in {
                *("trunk_empty", "trunk_frames", "trunk_length", "trunk_frame_type")
            }
            continue
        frames, lost = rejoin.frames(read)
        assert lost in (0, 1)
        assert len(frames) <= trunk.MAX_FRAMES
        assert len(rejoin) <= 2
