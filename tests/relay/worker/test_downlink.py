"""Transceiver → client, without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.shared.counters import Counter
from relay.worker.downlink import FEW_DATAGRAMS
from tests.relay import kit
from tests.relay.kit import Plane, client, from_node, media
from wire import trunk
from wire.errors import WireError
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.trunk import ENTRY_BYTES, HEADER_BYTES, TAG_OFFSET, TAGGED_FROM, Tagger


def test_frames_reach_their_clients_unchanged() -> None:
    """Every frame of every datagram comes out once, in order, at the address it names."""
    plane = Plane()
    frames = [(client(number), media(40 + number)) for number in range(9)]
    datagrams = [
        from_node(*frames[:1], count=1),
        from_node(*frames[1:8], count=2),
        from_node(frames[8], count=3),
    ]
    assert plane.down(datagrams) == frames
    assert plane.drops() == {}


def test_empty_and_largest_payloads_pass() -> None:
    """Lengths from nothing to all that an MTU holds."""
    plane = Plane()
    frames = [(client(1), b""), (client(2), media(1352 - 24)), (client(3), b"")]
    assert plane.down([from_node(*frames[:2], count=1), from_node(frames[2], count=2)]) == frames


def signed(datagram: bytes | bytearray) -> bytes:
    """The datagram with the tag that its header and table should have."""
    data = bytearray(datagram)
    tagged = bytes(data[TAGGED_FROM : HEADER_BYTES + ENTRY_BYTES * data[2]])
    data[TAG_OFFSET:TAGGED_FROM] = Tagger(kit.TRUNK_KEYS).tag(tagged)
    return bytes(data)


GOOD = from_node((client(1), media()), (client(2), media(30)))


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "trunk_short"),
        (GOOD[:23], "trunk_short"),
        (GOOD[:60], "trunk_short"),
        (b"\x02" + GOOD[1:], "trunk_version"),
        (GOOD[:1] + b"\x09" + GOOD[2:], "trunk_key"),
        (GOOD[:30] + b"\xff" + GOOD[31:], "trunk_tag"),
        (GOOD[:5] + bytes([GOOD[5] ^ 1]) + GOOD[6:], "trunk_tag"),
        (GOOD[:3] + b"\x01" + GOOD[4:], "trunk_version"),
        (GOOD[:-1], "trunk_length"),
        (GOOD + b"!", "trunk_length"),
        (from_node(), "trunk_empty"),
        (from_node(*[(client(1), b"")] * 57), "trunk_frames"),
        (from_node(*[(client(1), b"")] * 59), "trunk_frames"),
        (from_node(*[(client(1), b"!")] * 255), "trunk_frames"),
        (from_node((client(1), media()), keys=KeyRing(2, {2: b"x" * 32})), "trunk_tag"),
        (from_node((client(1), media()), sender=kit.NODE << 16 | 40), "trunk_sender"),
        (from_node((client(1), media()), sender=77 << 16), "trunk_sender"),
        (from_node((client(1), media()), time_s=kit.NOW_S - 31), "trunk_stale"),
    ],
)
def test_a_bad_datagram_sends_nothing(datagram: bytes, reason: str) -> None:
    """Forged, truncated, foreign, stale: each has its counter, and its neighbours still pass."""
    for good_ones in (1, FEW_DATAGRAMS):
        plane = Plane(batch=1 + good_ones)
        frame = (client(3), media(50))
        good = [from_node(*[frame] * 4, count=number) for number in range(9, 9 + good_ones)]
        assert plane.down([datagram, *good]) == [frame] * 4 * good_ones
        assert plane.drops() == {reason: 1}


@pytest.mark.parametrize("good_ones", [0, FEW_DATAGRAMS])
@pytest.mark.parametrize(
    ("offset", "value"), [(20, 0), (20, 2), (20, 3), (20, 255), (21, 1), (23, 9)]
)
def test_an_unknown_frame_type_sends_nothing(offset: int, value: int, good_ones: int) -> None:
    """A type of a later version, or a byte that must be 0 and is not, is counted."""
    data = bytearray(GOOD)
    data[HEADER_BYTES + offset] = value
    plane = Plane()
    frame = (client(3), media(50))
    good = [from_node(*[frame] * 4, count=number) for number in range(9, 9 + good_ones)]
    assert plane.down([signed(data), *good]) == [frame] * 4 * good_ones
    assert plane.drops() == {"trunk_frame_type": 1}


def test_a_replayed_datagram_sends_nothing() -> None:
    """The same bytes a second time, from wherever, are dropped; in one batch and across two."""
    plane = Plane()
    assert len(plane.down([GOOD, GOOD])) == 2
    assert plane.down([GOOD]) == []
    assert plane.drops() == {"trunk_replay": 2}
    assert plane.count(Counter.DOWN_PACKETS) == 2


ENTRY = st.tuples(
    st.integers(0, 5).map(client) | st.binary(min_size=18, max_size=18),
    st.integers(0, 60) | st.integers(0, 0xFFFF),
    st.just(1 << 24) | st.sampled_from([2 << 24, 3 << 24]) | st.integers(0, 0xFFFFFFFF),
)
DATAGRAM = st.tuples(
    st.sampled_from([kit.NODE << 16 | kit.EPOCH]) | st.integers(0, 0xFFFFFFFF),
    st.just(kit.NOW_S) | st.integers(0, 0xFFFFFFFF),
    st.lists(st.tuples(st.just(client(1)), st.integers(0, 60), st.just(1 << 24)), max_size=9)
    | st.lists(ENTRY, max_size=5)
    | st.integers(50, 255).map(lambda frames: [(client(1), 3, 1 << 24)] * frames),
    st.none() | st.binary(max_size=90),
)


@given(
    sent=st.lists(DATAGRAM, min_size=1, max_size=6),
    counts=st.lists(st.integers(0, 40) | st.integers(0, 0xFFFFFFFF), min_size=6, max_size=6),
    many=st.booleans(),
)
@settings(deadline=None)
def test_whatever_a_correct_tag_covers(
    sent: list[tuple[int, int, list[tuple[bytes, int, int]], bytes | None]],
    counts: list[int],
    many: bool,
) -> None:
    """By arrays and one by one: what `trunk.read` accepts is sent as it is, all else is counted."""
    plane, replay = Plane(batch=64), ReplayWindow()
    datagrams: list[bytes] = []
    expected: list[tuple[bytes, bytes]] = []
    refused = 0
    for (sender, time_s, entries, payload), count in zip(sent, counts, strict=False):
        whole = bytes(min(sum(length for _, length, _ in entries), 9000 - 24 - 24 * len(entries)))
        behind = whole if payload is None else payload
        datagrams.append(packed(sender, time_s, count, entries, behind))
    padding = [from_node((client(2), b"good"), count=0x8000 + n) for n in range(FEW_DATAGRAMS)]
    for datagram in (datagrams := datagrams + padding * many):
        try:
            plane.tagger.check(datagram)
            sender, time_s, count = trunk.origin(datagram)
            if not plane.nodes.knows_sender(sender):
                raise WireError("trunk_sender")
            replay.accept(sender, time_s, count, kit.NOW_S)
            read = trunk.read(plane.tagger, datagram)
        except WireError:
            refused += 1
            continue
        if read.first is trunk.FrameType.DATAGRAM:
            expected += read.frames
        else:
            refused += 1
    passed_on = plane.down(datagrams)
    assert sorted(passed_on) == sorted(expected)
    assert sum(plane.drops().values()) == refused


def packed(
    sender: int, time_s: int, count: int, entries: list[tuple[bytes, int, int]], payload: bytes
) -> bytes:
    """A datagram with a correct tag over whatever this is."""
    origin = trunk._ORIGIN.pack(sender, time_s, count)
    table = b"".join(trunk._ENTRY.pack(*fields) for fields in entries)
    lead = trunk._LEAD.pack(trunk.VERSION, kit.TRUNK_KEYS.current, len(entries))
    return signed(lead + bytes(8) + origin + table + payload)
