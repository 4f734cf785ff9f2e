"""The jitter buffer on virtual time: what a decoder gets over bad networks, and how late."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.network import FRAME_S, TICKS, TRANSIT_S, Heard, Network, listen, payload_of
from transceiver.rtp.delay_target import BIN_S, MAX_TARGET_S, DelayTarget
from transceiver.rtp.jitter_buffer import (
    HEARD_WORTH_S,
    MAX_AHEAD,
    MAX_CONCEALED,
    MAX_FILLED,
    PAUSE_S,
    STALL_S,
    JitterBuffer,
)
from transceiver.rtp.receive import MAX_GIVEN_UP, Frame, Origin

COUNT = 500  # ten seconds
STARTS = [(0x1_0000 - n) & 0xFFFF for n in range(-3, 13)]
DTX = b"\xf8"


def real(heard: list[Heard]) -> list[Heard]:
    return [one for one in heard if one.real]


def without_the_end(heard: list[Heard]) -> list[Heard]:
    """Less the noise that begins when the last packet is a while ago."""
    last = max(n for n, one in enumerate(heard) if one.real)
    return heard[: last + 1]


def check_order(heard: list[Heard]) -> None:
    """Every frame follows the one before without a seam, and no packet comes twice."""
    indexes = [one.index for one in heard]
    assert indexes == list(range(indexes[0], indexes[0] + len(indexes)))
    for one in real(heard):
        assert one.frame.payload == payload_of(one.index)


def test_a_clean_path_costs_nothing() -> None:
    """Every packet leaves in the moment it comes."""
    heard = without_the_end(listen(Network().carry(COUNT), JitterBuffer()))
    check_order(heard)
    assert len(real(heard)) == COUNT
    assert max(one.delay_s for one in heard) < 1e-9


@pytest.mark.parametrize("jitter_s", [0.0, 0.03, 0.06])
@pytest.mark.parametrize("burst", [1, 4])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.03, 0.10, 0.20])
def test_bad_networks(loss: float, burst: int, jitter_s: float) -> None:
    """Sound without a seam, in order, hardly a packet thrown away, and little delay."""
    network = Network(loss, burst, jitter_s, duplicates=0.05)
    arrivals = network.carry(COUNT)
    buffer = JitterBuffer()
    heard = without_the_end(listen(arrivals, buffer))
    check_order(heard)
    came = len({index for _, index in arrivals})
    assert came - len(real(heard)) == buffer.late + buffer.duplicates - (len(arrivals) - came)
    assert len(real(heard)) >= 0.98 * came  # nearly all of them before the target is learnt
    delays = [one.delay_s for one in heard]
    allowed_s = {0.0: 0.025, 0.03: 0.060, 0.06: 0.090}
    assert mean(delays) <= allowed_s[jitter_s]
    assert max(delays) <= jitter_s + MAX_TARGET_S + FRAME_S * (burst * 3)


def test_one_lost_packet_leaves_no_delay() -> None:
    """Its frame is made good when the next packet comes, and that one is not held."""
    arrivals = [(at_s, index) for at_s, index in Network().carry(100) if index != 50]
    heard = without_the_end(listen(arrivals, JitterBuffer()))
    check_order(heard)
    assert heard[50].frame.origin is Origin.FEC
    assert heard[50].frame.payload == payload_of(51)
    assert heard[51].frame.lost == 1
    assert heard[50].delay_s == pytest.approx(FRAME_S)
    assert max(one.delay_s for one in heard[51:]) < 1e-9


@pytest.mark.parametrize("sequence", STARTS)
def test_numbers_wrap_without_a_seam(sequence: int) -> None:
    """Loss and reordering across the wraps of sequence and timestamp change nothing."""
    arrivals = Network(loss=0.1, jitter_s=0.03).carry(60)
    plain = listen(arrivals, JitterBuffer(), sequence=1000, timestamp=1_000_000)
    timestamp = 0x1_0000_0000 - 20 * TICKS
    wrapped = listen(arrivals, JitterBuffer(), sequence=sequence, timestamp=timestamp)
    assert [(h.index, h.frame.origin, h.frame.lost) for h in wrapped] == [
        (h.index, h.frame.origin, h.frame.lost) for h in plain
    ]


def test_a_burst_after_a_stall_leaves_at_once() -> None:
    """What was held up for 200 ms comes out whole, and what follows it without delay."""
    arrivals = [(max(at_s, 1.2) if 1.0 <= at_s < 1.2 else at_s, n) for at_s, n in
                Network().carry(200)]  # fmt: skip
    heard = without_the_end(listen(arrivals, JitterBuffer()))
    check_order(heard)
    assert len(real(heard)) == 200
    assert max(one.delay_s for one in heard if one.index * FRAME_S > 1.2) < 1e-9


def test_a_hole_waits_for_a_packet_that_is_only_late() -> None:
    """On a path with jitter, a packet overtaken by its successors still finds its place."""
    buffer = JitterBuffer()
    listen(Network(jitter_s=0.06).carry(200), buffer, until_s=4.0 + TRANSIT_S + 0.02)
    now = 200 * FRAME_S + TRANSIT_S
    assert buffer.push(201, 201 * TICKS, payload_of(201), now + FRAME_S) == []
    frames = buffer.push(200, 200 * TICKS, payload_of(200), now + 0.04)
    assert [frame.payload for frame in frames] == [payload_of(200), payload_of(201)]
    assert [frame.lost for frame in frames] == [0, 0]


@pytest.mark.parametrize("jitter_s", [0.0, 0.06])
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_what_packets_waited_adds_up(loss: float, jitter_s: float) -> None:
    """All that packets lay in the buffer; a packet waits only for one that may still come."""
    buffer = JitterBuffer()
    arrivals = list(Network(loss=loss, jitter_s=jitter_s).carry(COUNT))
    came_s = {n: at_s for at_s, n in reversed(arrivals)}
    heard = real(listen(arrivals, buffer))
    waited_s = sum(one.at_s - came_s[one.index] for one in heard)
    assert buffer.waited_s == pytest.approx(waited_s, abs=1e-6)
    assert (buffer.waited_s > 0) == bool(jitter_s)


def test_a_wide_hole_is_filled_within_bounds() -> None:
    """A long loss: noise while nothing comes; then concealment, noise and FEC, never too many."""
    buffer = JitterBuffer()
    heard = listen([(0.0, 0), (1.6, 80)], buffer)
    filled = [one for one in heard[1:] if one.frame.origin is not Origin.PACKET and one.index < 80]
    stall = [one for one in filled if one.at_s < 1.6]
    assert {one.frame.origin for one in stall} == {Origin.COMFORT}
    assert stall[0].at_s >= STALL_S
    after = [one.frame.origin for one in filled if one.at_s == 1.6]
    assert len(after) <= MAX_FILLED
    assert after.count(Origin.CONCEALED) <= MAX_CONCEALED
    assert after[-1] is Origin.FEC
    assert filled[-1].index == 79
    assert buffer.lost == 79


def test_a_pause_of_dtx_is_silence_and_no_loss() -> None:
    """After a DTX packet noise goes on in real time, and the next packet says nothing was lost."""
    buffer = JitterBuffer()
    buffer.push(0, 0, payload_of(0), 0.0)
    buffer.push(1, TICKS, DTX, FRAME_S)
    noise: list[float] = []
    while (deadline_s := buffer.deadline_s()) is not None and deadline_s < 0.4:
        assert [frame.origin for frame in buffer.expire(deadline_s)] == [Origin.COMFORT]
        noise.append(deadline_s)
    assert 16 <= len(noise) <= 19
    assert noise[1] - noise[0] == pytest.approx(FRAME_S)
    frames = buffer.push(2, 21 * TICKS, payload_of(21), 21 * FRAME_S)
    assert frames[-1] == Frame(payload_of(21), 21 * TICKS, 0, Origin.PACKET, TICKS)
    assert all(frame.origin is Origin.COMFORT for frame in frames[:-1])
    assert len(noise) + len(frames) - 1 == 19  # frames 2 to 20
    assert (buffer.lost, buffer.late) == (0, 0)


@pytest.mark.parametrize("length_s", [0.3, 0.6, 0.9])
def test_what_a_stall_held_up_is_heard_whole(length_s: float) -> None:
    """Up to a second no noise is made, so every word of the burst has its place."""
    arrivals = [
        (max(at_s, 2 + length_s) if 2 <= at_s < 2 + length_s else at_s, n)
        for at_s, n in Network().carry(300)
    ]
    heard = without_the_end(listen(arrivals, JitterBuffer()))
    check_order(heard)
    assert len(real(heard)) == len(heard) == 300


def test_what_comes_after_noise_was_made_for_it_is_too_late() -> None:
    """All but the last three packets of the noise's time; those are made up for one by one."""
    buffer = JitterBuffer()
    listen(Network().carry(10), buffer, until_s=TRANSIT_S + 0.2 + STALL_S + 0.3)
    noise, now = buffer.filled, TRANSIT_S + STALL_S + 0.5
    heard = [f for n in range(10, 70) for f in buffer.push(n, n * TICKS, payload_of(n), now)]
    assert [frame.origin for frame in heard] == [Origin.PACKET] * len(heard)
    assert heard[0].payload == payload_of(10 + noise - 3)
    assert buffer.left_out == noise == 60 - len(heard)
    assert [f.timestamp for f in heard] == [(10 + noise + n) * TICKS for n in range(len(heard))]
    after = buffer.push(70, 70 * TICKS, payload_of(70), now)
    assert after == [Frame(payload_of(70), 70 * TICKS, 0, Origin.PACKET, TICKS)]


@pytest.mark.parametrize("length_s", [0.5, 1.5, 3.0, 4.0])
@pytest.mark.parametrize("kept_s", [0.0, 1.0, 9.0])
def test_a_listener_never_gets_more_sound_than_there_was_time(
    length_s: float, kept_s: float
) -> None:
    """Whatever a stall loses or delays: noise and late words together are no longer than it was."""
    ends_s = 2 + length_s
    arrivals = [
        (max(at_s, ends_s) if at_s >= 2 else at_s, n)
        for at_s, n in Network().carry(500)
        if not 2 <= at_s < ends_s - kept_s
    ]
    heard = listen(arrivals, JitterBuffer(), until_s=9.0)
    for count, one in enumerate(heard):
        assert count * FRAME_S <= one.at_s - heard[0].at_s + HEARD_WORTH_S + BIN_S + FRAME_S
    last = without_the_end(heard)[-1]
    assert last.index * FRAME_S == pytest.approx(last.at_s - TRANSIT_S, abs=BIN_S)


def test_noise_ends_when_nothing_comes() -> None:
    """A source that has gone for good is not filled for ever."""
    heard = listen([(0.0, 0)], JitterBuffer(), until_s=60.0)
    assert len(heard) - 1 == pytest.approx(PAUSE_S / FRAME_S, abs=1)
    assert heard[-1].at_s < PAUSE_S + STALL_S + 1


def test_a_copy_fills_a_hole_and_only_that() -> None:
    """Redundancy is taken for a packet that is missing; for others it changes nothing."""
    buffer = JitterBuffer()
    assert buffer.recover(1, TICKS, payload_of(1), 0.0) == []  # nothing came yet
    buffer.push(1, TICKS, payload_of(1), 0.02)
    assert buffer.recover(1, TICKS, payload_of(1), 0.06) == []
    frames = buffer.recover(2, 2 * TICKS, payload_of(2), 0.06)
    frames += buffer.push(3, 3 * TICKS, payload_of(3), 0.06)
    assert [frame.origin for frame in frames] == [Origin.PACKET, Origin.PACKET]
    assert (buffer.lost, buffer.duplicates) == (0, 0)


def test_a_flush_fills_what_is_missing_after_a_hole_was_given_up() -> None:
    """Frames left later than the last packet came, and time does not go back for the flush."""
    buffer, short, short_s = JitterBuffer(), b"\x80sound", 0.0025
    for index in range(321):  # in bursts, so that it learns to wait
        buffer.push(index, index * 120, short, index // 16 * 16 * short_s)
    arrived_s = 320 * short_s
    for index in (326, 334):
        buffer.push(index, index * 120, short, arrived_s)
    deadline_s = buffer.deadline_s()
    assert deadline_s is not None
    assert deadline_s > arrived_s + 4 * short_s
    assert [frame.lost for frame in buffer.expire(deadline_s) if frame.lost] == [5]
    *_, spoken_of, last = buffer.flush()
    assert (spoken_of.origin, last.origin, last.lost) == (Origin.FEC, Origin.PACKET, 7)


def test_a_source_that_starts_anew_is_believed_at_the_second_packet() -> None:
    """RFC 3550 A.1: one packet far behind is noise, two in a row are a new beginning."""
    buffer = JitterBuffer()
    listen([(n * FRAME_S, n) for n in range(3)], buffer, sequence=5000, timestamp=9_000_000,
           until_s=0.05)  # fmt: skip
    assert buffer.push(17, 500, payload_of(0), 0.06) == []
    frames = buffer.push(18, 500 + TICKS, payload_of(1), 0.08)
    assert [(frame.payload, frame.timestamp) for frame in frames] == [(payload_of(1), 500 + TICKS)]
    assert buffer.push(19, 500 + 2 * TICKS, payload_of(2), 0.10) != []


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_hostile_numbers_stay_within_bounds(seed: int, spread: int) -> None:
    """Whatever the numbers say: memory, frames per packet and frames per second are bounded."""
    chance = random.Random(seed)
    buffer = JitterBuffer()
    now, frames, sequence = 0.0, 0, 0
    for _ in range(200):
        now += 0.001 * chance.randrange(spread)
        deadline_s = buffer.deadline_s()
        if deadline_s is not None and deadline_s <= now:
            frames += len(buffer.expire(now))
        sequence = sequence + chance.choice([1, 1, 2, 30, 60, 40000]) & 0xFFFF
        timestamp = chance.choice([sequence * TICKS, chance.randrange(2**32)]) & 0xFFFF_FFFF
        payload = chance.choice([b"", DTX, b"\xf8xyz", bytes(1275)])
        frames += len(buffer.push(sequence, timestamp, payload, now))
        assert len(buffer) <= MAX_AHEAD + 1
        assert len(buffer._given_up) <= MAX_GIVEN_UP
    assert frames <= 200 * (MAX_FILLED + 1)
    assert frames <= 200 * 4 + now / FRAME_S * 9  # 2.5 ms frames are eight to 20 ms, and its noise


def test_the_target_follows_the_jitter() -> None:
    """One bin on a clean path, the jitter on a bad one, and back within seconds."""
    target = DelayTarget()
    chance = random.Random(1)
    for step in range(1500):
        jitter_s = 0.06 if 500 <= step < 1000 else 0.0
        target.note(TRANSIT_S + chance.random() * jitter_s, step * FRAME_S)
        if step == 499:
            assert target.target_s() == BIN_S
        if step == 999:
            assert target.target_s() == pytest.approx(0.06, abs=BIN_S)
    assert target.target_s() < 0.06
    for step in range(1500, 2500):
        target.note(TRANSIT_S, step * FRAME_S)
    assert target.target_s() == BIN_S


def test_the_target_is_bounded_and_follows_another_route() -> None:
    """Transits out of all reason give the longest target; a slower path is the new normal soon."""
    target = DelayTarget()
    for step in range(50_000):  # long enough to be scaled down several times
        target.note(0.0 if step % 2 else 9.0, step * FRAME_S)
    assert target.target_s() == MAX_TARGET_S
    for step in range(50_000, 51_000):
        target.note(5.0, step * FRAME_S)
    assert target.quickest_s == 5.0
    assert target.target_s() == BIN_S
