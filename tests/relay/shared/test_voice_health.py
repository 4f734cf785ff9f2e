"""Voice health: RTP loss, jitter and gaps of watched flows, and nothing of the others."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagram.mmsg import ReceiveBatch
from relay.shared.voice import MAX_WATCHED, VoiceTable, VoiceWatch, Watch, WatchOrder
from tests.relay.kit import client, load

START_MS = 10_000
FOREVER_MS = 1 << 40


def rtp(sequence: int, rtp_time: int, ssrc: int = 9) -> bytes:
    return struct.pack("!BBHII", 0x80, 111, sequence & 0xFFFF, rtp_time & 0xFFFFFFFF, ssrc) + b"x"


def watch() -> Watch:
    return Watch(WatchOrder(0, 1, client(1), FOREVER_MS), START_MS)


def heard(sequences: list[int], start: int = 0) -> Watch:
    """A watch that heard these packets, 20 ms apart and in time with their numbers."""
    it = watch()
    for number, sequence in enumerate(sequences):
        it.note(memoryview(rtp(start + sequence, 960 * sequence)), START_MS + 20 * number)
    return it


@given(st.integers(0, 0xFFFF), st.sets(st.integers(1, 198), max_size=50))
def test_loss_is_what_the_sequence_numbers_leave_out(start: int, missing: set[int]) -> None:
    """From any start number, across the wrap, every gap is counted once."""
    it = heard([number for number in range(200) if number not in missing], start)
    health = it.health()
    assert (health.packets, health.lost) == (200 - len(missing), len(missing))


def test_reordered_packets_are_not_lost() -> None:
    """A late packet fills its gap again; a duplicate never makes loss negative."""
    assert heard([0, 1, 3, 4, 2, 5]).health().lost == 0
    assert heard([0, 1, 1, 1, 2]).health().lost == 0


def test_a_restart_of_the_source_is_no_loss() -> None:
    """A jump that no loss explains starts a new run and keeps what was lost before."""
    assert heard([0, 1, 3, 20_000, 20_001]).health().lost == 1


def test_a_steady_stream_has_no_jitter_and_an_uneven_one_has_its_own() -> None:
    """RFC 3550 A.8: the mean deviation, approached by a sixteenth a packet."""
    assert heard(list(range(100))).health().jitter_us == 0
    it = watch()
    for number in range(400):
        late_ms = 10 * (number % 2)
        it.note(memoryview(rtp(number, 960 * number)), START_MS + 20 * number + late_ms)
    assert it.health().jitter_us == pytest.approx(10_000, rel=0.01)


def test_gap_and_silence_count_every_kind_of_packet() -> None:
    """The longest pause between two packets, whether RTP or not; RTCP and DTLS are no RTP."""
    it = watch()
    for at_ms, packet in [
        (0, rtp(1, 0)),
        (300, b"\x80\xc8" + bytes(20)),
        (350, b"\x16"),
        (360, b""),
    ]:
        it.note(memoryview(packet), START_MS + at_ms)
    health = it.health()
    assert (health.packets, health.longest_gap_ms, health.last_ms) == (1, 300, START_MS + 360)


def test_a_second_source_does_not_disturb_the_first() -> None:
    """Retransmissions on their own SSRC are passed over; after a silence another is heard."""
    it = watch()
    for number in range(10):
        it.note(memoryview(rtp(number, 0)), START_MS + 20 * number)
        it.note(memoryview(rtp(number * 7, 0, ssrc=10)), START_MS + 20 * number)
    assert (it.health().packets, it.health().lost) == (10, 0)
    it.note(memoryview(rtp(500, 0, ssrc=10)), START_MS + 9000)
    assert (it.health().packets, it.health().lost) == (11, 0)


@given(st.binary(max_size=40))
def test_no_bytes_raise(packet: bytes) -> None:
    """Whatever a watched client sends is looked at without an exception."""
    it = watch()
    it.note(memoryview(packet), START_MS)
    it.note(memoryview(packet), START_MS + 1)
    assert it.health().packets <= 2


def table() -> VoiceTable:
    return VoiceTable(memoryview(bytearray(8 * VoiceTable.WORDS)).cast("Q"))


def test_only_watched_addresses_are_looked_at() -> None:
    """In a mixed batch the watched client's packets are counted, and its neighbours' are not."""
    records = table()
    voice = VoiceWatch(records)
    voice.follow([WatchOrder(3, 8, client(1), FOREVER_MS)], START_MS)
    batch = ReceiveBatch(16, 1536)
    load(batch, [(client(number), rtp(number, 0)) for number in (1, 2, 1, 3, 4)])
    voice.note(batch, 5, START_MS)
    assert records.read(3).packets == 2
    assert [records.read(record).watch for record in range(MAX_WATCHED)].count(0) == 63


def test_a_watch_that_goes_on_keeps_its_figures_and_one_that_ends_leaves_nothing() -> None:
    """Orders are the whole state: what is in both goes on, what is left out is gone."""
    records = table()
    voice = VoiceWatch(records)
    first = WatchOrder(0, 1, client(1), START_MS + 100)
    second = WatchOrder(1, 2, client(2), START_MS + 900)
    voice.follow([first, second], START_MS)
    batch = ReceiveBatch(16, 1536)
    load(batch, [(client(1), rtp(1, 0)), (client(2), rtp(1, 0))])
    voice.note(batch, 2, START_MS)
    voice.follow([second], START_MS + 50)
    assert (records.read(0).watch, records.read(1).packets) == (0, 1)
    voice.expire(START_MS + 899)
    assert len(voice) == 1
    voice.expire(START_MS + 900)
    assert (len(voice), records.read(1).watch) == (0, 0)


def test_no_more_than_the_bound_are_watched() -> None:
    """A hundred orders make sixty-four watches."""
    voice = VoiceWatch(table())
    voice.follow(
        [WatchOrder(n % MAX_WATCHED, n + 1, client(n), FOREVER_MS) for n in range(100)], START_MS
    )
    assert len(voice) == MAX_WATCHED
