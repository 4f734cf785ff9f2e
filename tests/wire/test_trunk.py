"""The trunk datagram and its replay window."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import trunk
from wire.address import pack_address
from wire.errors import WireError
from wire.keys import KeyRing
from wire.replay import WINDOW, ReplayWindow
from wire.trunk import Tagger

TAGGER = Tagger(KeyRing(3, {3: b"k" * 32}))
ROTATED = Tagger(KeyRing(4, {4: b"n" * 32, 3: b"k" * 32}))
CLIENT = pack_address("203.0.113.7", 40000)

addresses = st.binary(min_size=18, max_size=18)
frame_lists = st.lists(st.tuples(addresses, st.binary(max_size=200)), min_size=1, max_size=56)
u32 = st.integers(0, 0xFFFFFFFF)


@given(sender=u32, time_s=u32, count=u32, frames=frame_lists)
def test_round_trip(sender, time_s, count, frames) -> None:  # type: ignore[no-untyped-def]
    """Every frame comes back, with sender, time and count."""
    read = trunk.read(TAGGER, trunk.pack(TAGGER, sender, time_s, count, frames))
    assert (read.sender, read.time_s, read.count) == (sender, time_s, count)
    assert list(read.frames) == frames


@given(kind=st.sampled_from(sorted(trunk.CONTROL)), frames=frame_lists)
def test_control_frames_round_trip(kind, frames) -> None:  # type: ignore[no-untyped-def]
    """All frames of such a datagram are of its type."""
    read = trunk.read(TAGGER, trunk.pack(TAGGER, 1, 2, 3, frames, kind))
    assert (read.first, list(read.frames)) == (kind, frames)


@pytest.mark.parametrize("kinds", [(4, 1), (1, 4), (4, 5), (6, 6, 4), (3, 4), (4, 3), (7,), (0,)])
def test_types_that_do_not_belong_together(kinds: tuple[int, ...]) -> None:
    """Control frames stand among their like, and no type is unknown."""
    tagged = trunk._ORIGIN.pack(1, 2, 3) + b"".join(
        trunk._ENTRY.pack(CLIENT, 0, kind << 24) for kind in kinds
    )
    lead = trunk._LEAD.pack(trunk.VERSION, TAGGER.key_id, len(kinds))
    with pytest.raises(WireError, match="trunk_frame_type"):
        trunk.read(TAGGER, lead + TAGGER.tag(tagged) + tagged)


@given(frames=st.lists(st.tuples(addresses, st.binary(max_size=1352)), max_size=150))
def test_fill_keeps_order_and_mtu(frames) -> None:  # type: ignore[no-untyped-def]
    """Runs put together are the frames; none too large, none could take one frame more."""
    runs = list(trunk.fill(frames, 1400))
    assert [frame for run in runs for frame in run] == frames
    for run in runs:
        assert len(trunk.pack(TAGGER, 1, 2, 3, run)) <= 1400
        assert len(run) <= trunk.MAX_FRAMES
    for run, following in itertools.pairwise(runs):
        longer = [*run, following[0]]
        assert len(longer) > trunk.MAX_FRAMES or len(trunk.pack(TAGGER, 1, 2, 3, longer)) > 1400


def test_key_rotation() -> None:
    """A receiver reads with every key of its ring; a sender signs with the current one."""
    old = trunk.pack(TAGGER, 1, 2, 3, [(CLIENT, b"x")])
    assert trunk.read(ROTATED, old).frames == ((CLIENT, b"x"),)
    with pytest.raises(WireError, match="trunk_key"):
        trunk.read(TAGGER, trunk.pack(ROTATED, 1, 2, 3, [(CLIENT, b"x")]))


@given(position=st.integers(0, 71), bit=st.integers(0, 7))
def test_header_and_table_are_covered_by_the_tag(position: int, bit: int) -> None:
    """No bit of what the trunk adds can be changed (payloads protect themselves)."""
    data = bytearray(trunk.pack(TAGGER, 1, 2, 3, [(CLIENT, b"abc"), (CLIENT, b"defg")]))
    data[position] ^= 1 << bit
    with pytest.raises(WireError):
        trunk.read(TAGGER, bytes(data))


def test_each_datagram_is_accepted_once() -> None:
    """A replay is refused, whatever came between."""
    window = ReplayWindow()
    for count in (5, 7, 6, 2000):
        window.accept(1, 100, count, 100)
    for count in (5, 7, 6, 2000):
        with pytest.raises(WireError, match="trunk_replay"):
            window.accept(1, 100, count, 100)
    window.accept(2, 100, 5, 100)


@pytest.mark.parametrize("start", [0, 1, 2**31 - 2, 2**31, 2**32 - WINDOW, 2**32 - 2, 2**32 - 1])
def test_the_count_wraps(start: int) -> None:
    """The window goes on over the end of 32 bits, and the middle."""
    window = ReplayWindow()
    for step in (0, 1, 3, 2, 10):
        window.accept(1, 100, (start + step) % 2**32, 100)
    for step in (0, 1, 2, 3, 10):
        with pytest.raises(WireError, match="trunk_replay"):
            window.accept(1, 100, (start + step) % 2**32, 100)


def test_behind_the_window_counts_as_seen() -> None:
    """What is older than the window cannot be told from a replay."""
    window = ReplayWindow()
    window.accept(1, 100, 5000, 100)
    window.accept(1, 100, 5000 - WINDOW + 1, 100)
    with pytest.raises(WireError, match="trunk_replay"):
        window.accept(1, 100, 5000 - WINDOW, 100)


def test_a_recording_of_a_forgotten_sender_is_stale() -> None:
    """Strangers must be fresh by our clock; known senders are held against themselves."""
    window = ReplayWindow(fresh_s=30)
    with pytest.raises(WireError, match="trunk_stale"):
        window.accept(1, 100, 1, unix_s=131)
    window.accept(1, 100, 1, unix_s=130)
    window.accept(1, 100, 2, unix_s=9_000)  # our clock stepped; the sender is not cut off
    with pytest.raises(WireError, match="trunk_stale"):
        window.accept(1, 69, 3, unix_s=9_000)


@given(st.lists(st.integers(2**32 - 40, 2**32 + 40), max_size=80))
def test_against_a_set(counts: list[int]) -> None:
    """Within the window: accepted exactly when not seen before."""
    window, seen = ReplayWindow(), set()
    for count in counts:
        wrapped = count % 2**32
        try:
            window.accept(1, 0, wrapped, 0)
            assert wrapped not in seen
        except WireError:
            assert wrapped in seen
        seen.add(wrapped)


def test_senders_are_bounded() -> None:
    """The sender silent longest makes room."""
    window = ReplayWindow(max_senders=2)
    window.accept(1, 100, 1, 100)
    window.accept(2, 100, 1, 100)
    window.accept(1, 100, 2, 100)
    window.accept(3, 100, 1, 100)
    assert len(window) == 2
    with pytest.raises(WireError, match="trunk_replay"):
        window.accept(1, 100, 2, 100)
