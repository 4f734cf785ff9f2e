"""Small batches take a path of their own: it must give what the array path gives."""

from __future__ import annotations

import random

import pytest

from relay.worker import downlink, uplink, uplink_few
from tests.relay.kit import NODE_ADDRESS, Plane, check, client, from_node, media, ufrag
from wire.address import pack_address

OTHER = pack_address("fd00::9", 9)


def prepared(monkeypatch: pytest.MonkeyPatch, few: int) -> Plane:
    monkeypatch.setattr(uplink, "FEW", few)
    plane = Plane()
    plane.nodes.put(5, 1, OTHER)
    return plane


@pytest.mark.parametrize("seed", range(6))
def test_uplinks_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of known, unknown, moved and broken packets come out the same, counters too."""
    chance = random.Random(seed)
    checks = {n: check(ufrag(5, 1) if n % 2 else ufrag()) for n in range(8)}
    batches = [[(client(n), packet) for n, packet in checks.items()]]
    for _ in range(60):
        packets = [media(chance.choice((1, 40, 160, 700, 1352, 1353, 0))) for _ in range(3)]
        packets += [media(120), b"\x16dtls", b"\x05", chance.choice(list(checks.values()))]
        size = chance.choice((1, 2, 5, 19))
        pick = packets if chance.random() < 0.3 else [media(120), media(160)]
        batches.append([(client(chance.randrange(9)), chance.choice(pick)) for _ in range(size)])
    outcomes = []
    for few in (0, uplink_few.FEW):
        plane = prepared(monkeypatch, few)
        sent = [plane.up(batch) for batch in batches]
        frames = [[(to, d.count, d.frames) for to, d in datagrams] for datagrams in sent]
        outcomes.append((frames, plane.counts.tolist(), len(plane.flows)))
    assert outcomes[0] == outcomes[1]
    assert {to for datagrams in outcomes[0][0] for to, _, _ in datagrams} == {NODE_ADDRESS, OTHER}


@pytest.mark.parametrize("seed", range(6))
def test_downlinks_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, short, long and strange datagrams come out the same, counters too."""
    chance = random.Random(seed)
    batches = []
    for first in range(0, 400, 10):
        batch = []
        for number in range(chance.randint(1, 9)):
            frames = [
                (client(chance.randrange(9)), media(chance.choice((0, 2, 160, 300))))
                for _ in range(chance.randint(1, 4))
            ]
            whole = from_node(*frames, count=first + number)
            batch.append(chance.choice((whole, whole, whole, whole[:-1], whole + b"!", whole[:70])))
        batches.append(batch)
    outcomes = []
    for few in (0, downlink.FEW):
        monkeypatch.setattr(downlink, "FEW", few)
        plane = Plane()
        outcomes.append(([plane.down(batch) for batch in batches], plane.counts.tolist()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("seed", range(6))
def test_tags_are_checked_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forged, replayed, foreign and broken datagrams among whole ones, one by one and by arrays."""
    chance = random.Random(seed)
    batches = []
    for first in range(0, 600, 30):
        batch = []
        for number in range(chance.randint(12, 30)):
            whole = from_node((client(number % 9), media(160)), count=first + number)
            spoiled = bytearray(whole)
            spoiled[chance.randrange(48)] ^= 1 << chance.randrange(8)
            stranger = from_node((client(1), media()), sender=99 << 16, count=first + number)
            batch.append(
                chance.choice((whole, whole, whole, bytes(spoiled), whole[:30], stranger, b""))
            )
        batches.append([*batch, batch[0]])
    outcomes = []
    for few in (0, 1000):
        monkeypatch.setattr(downlink, "FEW_DATAGRAMS", few)
        plane = Plane()
        outcomes.append(([plane.down(batch) for batch in batches], plane.counts.tolist()))
        assert {"trunk_tag", "trunk_replay", "trunk_short", "trunk_sender"} <= plane.drops().keys()
    assert outcomes[0] == outcomes[1]


def test_a_hint_is_only_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that expired and whose slot another took is not followed from memory."""
    plane = Plane(capacity=4)
    plane.up([(client(1), check(ufrag()))])
    assert plane.up([(client(1), media())])
    plane.flows.expire(10**9, 1000, plane.flows.slot_count)
    assert plane.up([(client(1), media())], now_ms=10**9) == []
    plane.up([(client(2), check(ufrag()))], now_ms=10**9)
    assert plane.up([(client(1), media())], now_ms=10**9) == []
    assert plane.drops() == {"unknown_address": 2}
    assert plane.up([(client(2), media())], now_ms=10**9)


def test_hints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound they are forgotten and found again."""
    monkeypatch.setattr(uplink_few, "MAX_HINTS", 3)
    plane = Plane()
    for number in range(8):
        plane.up([(client(number), check(ufrag()))])
    for number in range(8):
        assert plane.up([(client(number), media())])
    assert len(plane.uplink._few._hints) <= 3
