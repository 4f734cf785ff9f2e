"""Mutated packets against the relay with every limit and watch on: nothing raises or grows."""

from __future__ import annotations

import random

from relay.counters import Counter
from relay.fresh_checks import CheckLog, FreshChecks
from relay.limits import Rates
from relay.voice import VoiceTable, VoiceWatch, WatchOrder
from tests.fuzz.test_relay_packets import BATCH, PACKETS, mutate
from tests.relay.kit import NOW_MS, Plane, check, client, media, ufrag
from tests.relay.test_voice import rtp


def test_mutated_packets_with_all_defences_on() -> None:
    """Every packet is forwarded or counted, and the books balance, whatever the limits took."""
    chance = random.Random(5)
    plane = Plane(batch=BATCH, capacity=200)
    plane.uplink._limits.change(Rates(strangers=500, checks=20, packets=2000))
    plane.uplink._fresh = FreshChecks(CheckLog(memoryview(bytearray(CheckLog.SIZE_BYTES))))
    table = VoiceTable(memoryview(bytearray(8 * VoiceTable.WORDS)).cast("Q"))
    voice = VoiceWatch(table)
    voice.follow([WatchOrder(n, n + 1, client(n), 1 << 40) for n in range(50)], NOW_MS)
    seeds = [*(check(ufrag()) for _ in range(8)), media(160), b"\x16\xfe\xfd" + bytes(60), b""]
    seeds += [rtp(number, 960 * number) for number in range(8)]
    for round_number in range(PACKETS // BATCH // 2):
        packets = [chance.choice(seeds) for _ in range(BATCH)]
        mutated = [mutate(chance, p) if chance.random() < 0.5 else p for p in packets]
        now_ms = NOW_MS + 3 * round_number
        plane.up([(client(chance.randrange(400)), packet) for packet in mutated], now_ms)
        voice.note(plane.from_clients, BATCH, now_ms)
    received = plane.count(Counter.UP_PACKETS)
    assert plane.count(Counter.UP_FORWARDED) + sum(plane.drops().values()) == received
    assert plane.drops().keys() >= {"rate_limited", "packets_limited", "stun_replay"}
    assert len(plane.flows) <= 200
    assert len(voice) == 50
    assert any(table.read(record).packets for record in range(50))
