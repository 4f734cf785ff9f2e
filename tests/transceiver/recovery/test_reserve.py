"""No number is used twice with a key, whenever an owner is lost and whoever goes on.

The oracle of this file keeps every SRTP index, SRTCP index and DTLS record number that any owner of
a call has used, read from the protected packets themselves. Owners are real streams on virtual
time, and each goes on until it is fenced: a second after the next one began.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from tests.transceiver.takeover.test_resumed_dtls import connected
from transceiver.recovery.reserve import (
    LEAST_RTP,
    MAX_AGE_S,
    MOST_RTP,
    MOST_SCTP,
    reserve_for,
)
from transceiver.rtp.audio import AudioStream
from transceiver.takeover.resumed_dtls import ResumedDtls
from transceiver.takeover.session_state import AudioState
from transceiver.transport import dtls_records
from transceiver.transport.dtls import DtlsState
from transceiver.transport.srtp import PROFILES, SrtpKeys, SrtpSession

WAKE_S = 0.00125  # as often as the sender may send at all
FENCE_S = 1.0
KEYS = SrtpKeys(PROFILES[0], *PROFILES[0].split(bytes(range(PROFILES[0].export_length))))


@dataclass
class Oracle:
    """What was used with one key: by its kind, each number once."""

    used: dict[str, set[int]] = field(default_factory=dict)

    def use(self, kind: str, number: int) -> None:
        numbers = self.used.setdefault(kind, set())
        assert number not in numbers, f"{kind} {number} was used twice"
        numbers.add(number)


class Owner:
    """A process that has the call from `began_s` on: its frames are as short as they may be."""

    def __init__(self, chance: random.Random, oracle: Oracle, now: float) -> None:
        self.stream = AudioStream(111, "cname", 0.0, chance.random, None)
        self.oracle, self.now = oracle, now
        self.kept: list[tuple[float, AudioState]] = []
        self._chance = chance
        self._index = 0
        self._duration = chance.choice((120, 240, 480, 960))

    def begin(self) -> None:
        self.stream.start(SrtpSession(KEYS), self.now)

    def resume(self, kept_s: float, state: AudioState) -> None:
        self.stream.resume(state, kept_s, self.now, reserve_for(self.now - kept_s))
        self._index = state.send.sequence

    def live(self, until_s: float) -> None:
        """Send at full rate, and keep a checkpoint now and then."""
        keep_s = self.now
        while self.now < until_s:
            self.now += WAKE_S
            for _ in range(self._chance.choice((1, 1, 1, 3))):  # a backend that is ahead
                self.stream.sender.push(b"\xf8voice", self._duration, self.now)
            for packet in self.stream.poll(self.now):
                self._note(packet)
            if self.now >= keep_s:
                self.kept.append((self.now, self.stream.export(self.now)))
                keep_s = self.now + self._chance.choice((0.2, 0.9))

    def _note(self, packet: bytes) -> None:
        if packet[1] & 0x7F in range(72, 77):  # RTCP, RFC 5761 §4
            self.oracle.use("srtcp", int.from_bytes(packet[-4:]) & 0x7FFF_FFFF)
            return
        ahead = (int.from_bytes(packet[2:4]) - self._index) & 0xFFFF
        assert ahead < 0x8000, "no receiver follows such a jump"
        self._index += ahead
        self.oracle.use("srtp", self._index)


def taken_over(chance: random.Random, owner: Owner) -> tuple[Owner, float]:
    """The next owner, from some checkpoint of up to 30 s; the old one lives on until its fence."""
    newest_s = owner.kept[-1][0]
    fit = [kept for kept in owner.kept if newest_s - kept[0] < MAX_AGE_S - FENCE_S]
    kept_s, state = chance.choice((fit[0], fit[-1], chance.choice(fit)))
    successor = Owner(chance, owner.oracle, newest_s + chance.random() * FENCE_S)
    successor.resume(kept_s, state)
    owner.live(successor.now + FENCE_S * chance.random())
    return successor, successor.now


@pytest.mark.parametrize("seed", range(6))
def test_no_srtp_index_is_used_twice(seed: int) -> None:
    """Three owners, frames of 2.5 ms and more, checkpoints of any age that is taken."""
    chance, oracle = random.Random(seed), Oracle()
    owner = Owner(chance, oracle, 0.0)
    owner.begin()
    owner.live(chance.uniform(1.0, 40.0))
    for _ in range(2):
        owner, now = taken_over(chance, owner)
        owner.live(now + chance.uniform(0.1, 12.0))
    assert len(oracle.used["srtp"]) > 100
    assert len(oracle.used["srtcp"]) > 1


@pytest.mark.parametrize("seed", range(6))
def test_no_record_number_is_used_twice(seed: int) -> None:
    """The same of DTLS, whose first owner has OpenSSL, at a thousand records a second."""
    chance, oracle = random.Random(seed), Oracle()
    side = ResumedDtls(connected()[0].export_state())
    for _ in range(3):
        states: list[DtlsState] = []
        for _ in range(chance.randrange(2_000, 20_000)):
            states.append(side.export_state())
            side.send(b"x")
            for number in records_of(side):
                oracle.use("dtls", number)
        was = chance.choice(states)
        further = was.next_write_sequence + reserve_for(chance.uniform(0, MAX_AGE_S)).dtls_records
        side = ResumedDtls(replace(was, next_write_sequence=further))
    assert len(oracle.used["dtls"]) > 5_000


def records_of(side: ResumedDtls) -> Iterator[int]:
    while (datagram := side.poll_transmit()) is not None:
        for record in dtls_records.split_records(datagram) or []:
            yield dtls_records.sequence(record)


def test_an_owner_that_was_cut_off_uses_nothing_of_its_successor() -> None:
    """It sends into the void for as long as consent lasts, at the pace of speech."""
    chance, oracle = random.Random(1), Oracle()
    owner = Owner(chance, oracle, 0.0)
    owner._duration = 960
    owner.begin()
    owner.live(5.0)
    kept_s, state = owner.kept[-1]
    successor = Owner(chance, oracle, owner.now)
    successor.resume(kept_s, state)
    owner.live(owner.now + 30.0)
    successor.live(successor.now + 30.0)


def test_the_reserve_grows_with_the_age_up_to_what_a_receiver_follows() -> None:
    """Early clocks count as late ones, and nothing is reserved for what is too old."""
    ages = [age / 10 for age in range(301)]
    reserves = [reserve_for(age) for age in ages]
    assert reserves == sorted(reserves, key=lambda r: (r.rtp_packets, r.sctp_chunks))
    assert reserves[0].rtp_packets == LEAST_RTP
    assert reserves[-1].rtp_packets == MOST_RTP < 0x8000
    assert reserves[-1].sctp_chunks == MOST_SCTP < 0x8000
    assert [reserve_for(-age) for age in ages] == reserves
    for age in (30.1, -31.0, float("nan")):
        with pytest.raises(ValueError, match="30 s"):
            reserve_for(age)
