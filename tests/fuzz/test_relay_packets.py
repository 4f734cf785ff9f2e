"""Mutated packets through the relay's whole packet path: nothing raises, nothing grows."""

from __future__ import annotations

import os
import random

import pytest

from relay.counters import Counter
from tests.relay import kit
from tests.relay.kit import Plane, check, client, from_node, media, ufrag
from wire import stun

# TRUNKLINE_FUZZ_PACKETS=10000000 for the long run.
PACKETS = int(os.environ.get("TRUNKLINE_FUZZ_PACKETS", "60000"))
BATCH = 64


def mutate(chance: random.Random, packet: bytes) -> bytes:
    """One to four byte flips, cuts, insertions or repeats."""
    data = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 3 if data:
                data[at % len(data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case _:
                data += data[:at][:200]
    return bytes(data[:2000])


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_client_packets(seed: int) -> None:
    """Every packet is forwarded or counted; flows stay within what valid checks made."""
    chance = random.Random(seed)
    plane = Plane(batch=BATCH, capacity=200)
    seeds = [check(ufrag()) for _ in range(8)]
    seeds += [
        media(160),
        b"\x16\xfe\xfd" + bytes(60),
        stun.write(1, stun.MessageClass.SUCCESS, bytes(12), [(0x20, bytes(8))], "p"),
        b"",
    ]
    for _ in range(PACKETS // BATCH // 2):
        packets = []
        for _ in range(BATCH):
            packet = chance.choice(seeds)
            if chance.random() < 0.8:
                packet = mutate(chance, packet)
            packets.append((client(chance.randrange(400)), packet))
        forwarded = sum(len(datagram.frames) for _, datagram in plane.up(packets))
        assert forwarded <= len(packets)
    received = plane.count(Counter.UP_PACKETS)
    assert plane.count(Counter.UP_FORWARDED) + sum(plane.drops().values()) == received
    assert len(plane.flows) <= 200


@pytest.mark.parametrize("seed", [1, 2])
def test_mutated_trunk_datagrams(seed: int) -> None:
    """Only untouched datagrams send; payload bytes may differ, for the tag does not cover them."""
    chance = random.Random(seed)
    plane = Plane(batch=BATCH)
    number = 0
    for _ in range(PACKETS // BATCH // 8):
        datagrams = []
        for _ in range(BATCH):
            number += 1
            frames = [
                (client(chance.randrange(50)), media(chance.randint(2, 180)))
                for _ in range(chance.randint(1, 6))
            ]
            datagram = from_node(*frames, count=number)
            datagrams.append(mutate(chance, datagram) if chance.random() < 0.7 else datagram)
        for address, packet in plane.down(datagrams):
            assert len(packet) <= 180
            assert address in KNOWN_CLIENTS
    assert plane.count(Counter.DOWN_DATAGRAMS) == number


KNOWN_CLIENTS = {kit.client(number) for number in range(50)}
