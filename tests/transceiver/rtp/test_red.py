"""`audio/red` as bytes, and when we send it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transceiver.rtp import red
from transceiver.rtp.opus import MAX_PACKET_BYTES
from transceiver.rtp.red import MAX_BLOCKS, MAX_OFFSET, Block
from transceiver.rtp.redundancy import CLEAN_REPORTS, OFF_FRACTION, ON_FRACTION, Redundancy
from wire.errors import WireError

REASONS = {"red_short", "red_blocks"}
OPUS, RED = 111, 63

blocks = st.lists(
    st.builds(Block, st.integers(0, 127), st.integers(0, MAX_OFFSET), st.binary(max_size=60)),
    max_size=MAX_BLOCKS,
)


def test_a_packet_of_chrome_is_read() -> None:
    """One copy of 3 bytes, 960 ticks earlier, before a primary of 2 (laid out by hand)."""
    packet = bytes([0x80 | OPUS, 960 >> 6, (960 & 0x3F) << 2, 3, OPUS]) + b"abcde"
    assert red.read(packet) == [Block(OPUS, 960, b"abc"), Block(OPUS, 0, b"de")]


@given(blocks, st.integers(0, 127), st.binary(max_size=60))
def test_what_is_written_is_read(copies: list[Block], primary_type: int, primary: bytes) -> None:
    """Every block survives writing and reading, in order, the primary last."""
    packet = red.write(copies, primary_type, primary)
    assert red.read(packet) == [*copies, Block(primary_type, 0, primary)]


@given(blocks, st.binary(max_size=60))
def test_every_truncation_reads_or_has_a_reason(copies: list[Block], primary: bytes) -> None:
    """A packet cut anywhere gives blocks within it or one of the documented reasons."""
    packet = red.write(copies, OPUS, primary)
    needed = len(packet) - len(primary)
    for length in range(len(packet)):
        if length >= needed:
            assert red.read(packet[:length])[-1].payload == primary[: length - needed]
            continue
        with pytest.raises(WireError) as caught:
            red.read(packet[:length])
        assert caught.value.reason == "red_short"


@given(st.binary(max_size=200))
def test_hostile_bytes_give_blocks_or_a_reason(packet: bytes) -> None:
    """Nothing but WireError with a documented reason comes out, and never more than went in."""
    try:
        read = red.read(packet)
    except WireError as error:
        assert error.reason in REASONS
    else:
        assert 1 <= len(read) <= MAX_BLOCKS + 1
        assert sum(len(block.payload) for block in read) < len(packet)


def test_too_many_blocks_are_refused() -> None:
    """The bound on copies holds at its edge."""
    copy = Block(OPUS, 960, b"x")
    assert len(red.read(red.write([copy] * MAX_BLOCKS, OPUS, b"y"))) == MAX_BLOCKS + 1
    with pytest.raises(WireError, match="red_blocks"):
        red.read(red.write([copy] * (MAX_BLOCKS + 1), OPUS, b"y"))


def test_redundancy_comes_with_loss_and_goes_after_it() -> None:
    """Plain until a report of 2 % loss, then the packet before travels along, until three clean."""
    sending = Redundancy(OPUS, RED)
    assert sending.wrap(b"one", 0) == (OPUS, b"one")
    sending.note_report(ON_FRACTION - 1)
    assert sending.wrap(b"two", 960) == (OPUS, b"two")
    sending.note_report(ON_FRACTION)
    payload_type, body = sending.wrap(b"three", 1920)
    assert payload_type == RED
    assert red.read(body) == [Block(OPUS, 960, b"two"), Block(OPUS, 0, b"three")]
    for _ in range(CLEAN_REPORTS - 1):
        sending.note_report(0)
    sending.note_report(OFF_FRACTION)  # not clean: the count begins anew
    for _ in range(CLEAN_REPORTS - 1):
        sending.note_report(OFF_FRACTION - 1)
        assert sending.on
    sending.note_report(0)
    assert not sending.on
    assert sending.wrap(b"four", 2880) == (OPUS, b"four")


def test_redundancy_is_never_on_when_it_was_not_offered() -> None:
    """Without a payload type for it, loss changes nothing."""
    sending = Redundancy(OPUS, None)
    sending.note_report(255)
    sending.wrap(b"one", 0)
    assert sending.wrap(b"two", 960) == (OPUS, b"two")
    assert sending.loss_percent == 99


@pytest.mark.parametrize(
    ("earlier", "offset"),
    [(bytes(1024), 960), (b"x", MAX_OFFSET + 1), (bytes(700), 960), (b"x", 0)],
)
def test_a_copy_that_does_not_fit_stays_away(earlier: bytes, offset: int) -> None:
    """Lengths and offsets beyond the header's bits, or a packet too long, mean plain Opus."""
    sending = Redundancy(OPUS, RED)
    sending.note_report(50)
    sending.wrap(earlier, 0)
    payload = bytes(MAX_PACKET_BYTES - 600)
    assert sending.wrap(payload, offset) == (OPUS, payload)


def test_a_copy_of_a_frame_before_a_pause_stays_away() -> None:
    """A receiver counts copies back by sequence number, so no frame may lie between."""
    sending = Redundancy(OPUS, RED)
    sending.note_report(50)
    sending.wrap(b"one", 0)
    sending.forget()
    assert sending.wrap(b"two", 1920) == (OPUS, b"two")
