"""Transceiver → client, without sockets."""

from __future__ import annotations

import pytest

from relay.shared.counters import Counter
from relay.worker.downlink import FEW_DATAGRAMS
from tests.relay import kit
from tests.relay.kit import Plane, client, from_node, media
from wire.keys import KeyRing
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
