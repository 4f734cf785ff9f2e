"""Token buckets by source: against a slow model, at their bounds, and in the packet path."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagram.mmsg import name_row
from relay.shared.counters import Counter
from relay.shared.rates import MAX_RATE, Rates
from relay.worker.limits import (
    BURST_S,
    FIRST_CHECKS_PER_S,
    UNKNOWN_MEDIA_PER_S,
    SourceLimits,
    TokenBuckets,
    prefixes,
)
from tests.relay.kit import Plane, check, client, media, ufrag
from wire.address import pack_address

NOW_MS = 1_000_000


@dataclass
class SlowBuckets:
    """One bucket a key, one packet at a time."""

    rate_per_s: float
    burst: float
    tokens: dict[int, float] = field(default_factory=dict)
    seen_ms: dict[int, int] = field(default_factory=dict)

    def admit(self, key: int, now_ms: int) -> bool:
        waited_ms = now_ms - self.seen_ms.get(key, 0)
        tokens = self.tokens.get(key, self.burst) + waited_ms * (self.rate_per_s / 1000)
        tokens = min(self.burst, tokens)
        admitted = tokens >= 1
        self.tokens[key], self.seen_ms[key] = tokens - admitted, now_ms
        return admitted


@settings(max_examples=200)
@given(
    # Rates whose tokens per millisecond are exact, so that both sides round alike.
    st.sampled_from([125, 250, 500, 1000, 4000]),
    st.lists(st.tuples(st.integers(0, 40), st.lists(st.integers(0, 6), max_size=30)), max_size=12),
)
def test_the_same_packets_pass_as_by_a_slow_model(
    rate: int, batches: list[tuple[int, list[int]]]
) -> None:
    """Whatever the batches and the pauses, each packet passes or not as one by one."""
    fast, slow = TokenBuckets(rate, 5), SlowBuckets(rate, 5)
    bucket_of = fast._buckets(np.arange(7, dtype=np.uint64))
    now_ms = NOW_MS
    for pause_ms, keys in batches:
        now_ms += pause_ms
        expected = [slow.admit(int(bucket_of[key]), now_ms) for key in keys]
        assert fast.admit(np.array(keys, np.uint64), now_ms).tolist() == expected


def test_a_prefix_gets_its_burst_and_then_its_rate() -> None:
    """Full buckets let BURST_S seconds' worth pass, and then as much as time brings."""
    limits = SourceLimits(Rates(strangers=100))
    flood = words(*(f"192.0.2.{host}" for host in range(256))).repeat(4, axis=0)
    assert limits.unknown_media(flood, NOW_MS).sum() == 100 * BURST_S
    assert limits.unknown_media(flood, NOW_MS).sum() == 0
    assert limits.unknown_media(flood, NOW_MS + 500).sum() == 50
    assert limits.unknown_media(words("198.51.100.1"), NOW_MS + 500).all()


def words(*hosts: str) -> np.ndarray:
    return np.array([name_row(pack_address(host, 1))[1:3] for host in hosts])


def test_prefixes_are_24_bits_of_ipv4_and_48_of_ipv6() -> None:
    """Addresses share a prefix exactly when the network does, whatever follows it."""
    same_v4 = prefixes(words("192.0.2.1", "192.0.2.255", "192.0.3.1", "192.1.2.1"))
    same_v6 = prefixes(words("2001:db8:7:1::1", "2001:db8:7:ffff:9::", "2001:db8:8::1"))
    assert [int(w == same_v4[0]) for w in same_v4] == [1, 1, 0, 0]
    assert [int(w == same_v6[0]) for w in same_v6] == [1, 1, 0]
    assert not set(same_v4.tolist()) & set(same_v6.tolist())


def test_the_table_does_not_grow_and_collisions_share() -> None:
    """A million sources use the buckets there are; with one bucket all of them share it."""
    one = TokenBuckets(10, 10, buckets=1)
    many = np.random.default_rng(1).integers(0, 1 << 63, 1_000_000).astype(np.uint64)
    assert one.admit(many, NOW_MS).sum() == 10
    assert one._spent.size == one._seen_ms.size == 1


def test_no_rate_is_no_limit() -> None:
    """0 lets everything pass and touches no bucket."""
    buckets = TokenBuckets(0, 0)
    assert buckets.admit(np.zeros(10_000, np.uint64), NOW_MS).all()
    assert not buckets._spent.any()


def test_a_changed_rate_holds_from_the_next_packet_on() -> None:
    """Limits change both ways while packets come."""
    limits = SourceLimits(Rates())
    flood = words("192.0.2.1").repeat(100, axis=0)
    assert limits.unknown_media(flood, NOW_MS).all()
    limits.change(Rates(strangers=10))
    assert limits.unknown_media(flood, NOW_MS).sum() == 20
    limits.change(Rates())
    assert limits.unknown_media(flood, NOW_MS).all()


@pytest.mark.parametrize(
    ("budget", "rate_per_s"),
    [("first_checks", FIRST_CHECKS_PER_S), ("unknown_media", UNKNOWN_MEDIA_PER_S)],
)
def test_strangers_from_everywhere_share_one_budget(budget: str, rate_per_s: int) -> None:
    """As many prefixes as a flood likes buy it no more of a worker's time."""
    limits = SourceLimits(Rates(strangers=2000))
    admit = getattr(limits, budget)
    everywhere = words(*(f"198.{18 + n % 2}.{n % 250}.{n // 250}" for n in range(1000)))
    first = admit(everywhere, NOW_MS)
    assert first.sum() == rate_per_s * 0.04
    assert first[: first.sum()].all()  # who came first
    assert admit(everywhere, NOW_MS).sum() == 0
    assert admit(everywhere, NOW_MS + 10).sum() == rate_per_s * 0.01
    other = {"first_checks": limits.unknown_media, "unknown_media": limits.first_checks}[budget]
    assert other(words("203.0.113.1"), NOW_MS).all()


@pytest.mark.parametrize("rate", [-1, MAX_RATE + 1])
def test_a_rate_out_of_range_is_refused(rate: int) -> None:
    """Named in the error, so that the operator knows which."""
    with pytest.raises(ValueError, match="checks"):
        Rates(checks=rate)


def limited(rates: Rates) -> Plane:
    """A data plane with limits."""
    plane = Plane(batch=512)
    plane.uplink._limits.change(rates)
    return plane


def neighbour(number: int) -> bytes:
    """One of a thousand addresses of the prefix of client 1."""
    return pack_address(f"10.1.0.{number % 250}", 1000 + number)


def test_strangers_of_a_prefix_are_held_and_live_flows_are_not() -> None:
    """While a neighbour floods, a caller of the same prefix loses neither media nor checks."""
    plane = limited(Rates(strangers=10, checks=50))
    call = ufrag()
    plane.up([(client(1), check(call))])
    garbage = [(neighbour(number), media()) for number in range(200)]
    forged = [(neighbour(number), check("0" * 24, password="x")) for number in range(200)]
    live = [(client(1), media()), (client(1), check(call)), (client(1), media())]
    [(_, datagram)] = plane.up([*garbage, *forged, *live])
    assert len(datagram.frames) == 3
    assert plane.count(Counter.DROP_RATE_LIMITED) == 400 - (20 - 1)
    assert plane.count(Counter.DROP_CHECKS_LIMITED) == 0


def test_what_is_refused_is_not_parsed() -> None:
    """Beyond the budget not even the STUN header is read."""
    plane = limited(Rates(strangers=10))
    plane.up([(neighbour(number), b"\x00\x01short") for number in range(100)])
    assert plane.drops() == {"stun_short": 20, "rate_limited": 80}


def test_checks_of_a_caller_are_held_by_his_own_address() -> None:
    """One caller who floods checks costs another of the same prefix nothing."""
    plane = limited(Rates(checks=5))
    first, second = ufrag(), ufrag()
    plane.up([(neighbour(1), check(first)), (neighbour(2), check(second))])
    flood = [(neighbour(1), check(first)) for _ in range(100)]
    sent = plane.up([*flood, (neighbour(2), check(second))])
    assert sum(len(datagram.frames) for _, datagram in sent) == 11
    assert plane.drops() == {"checks_limited": 90}


def test_all_packets_of_a_prefix_can_be_held() -> None:
    """The third budget holds media of live flows too, in large batches and in small ones."""
    plane = limited(Rates(packets=10))
    plane.up([(client(1), check(ufrag()))])
    assert sum(len(d.frames) for _, d in plane.up([(client(1), media())] * 200)) == 19
    assert plane.up([(client(1), media())]) == []
    assert plane.drops() == {"packets_limited": 182}


def test_every_packet_is_in_the_books() -> None:
    """Forwarded plus dropped is what came, also when limits bite."""
    plane = limited(Rates(strangers=7, checks=3, packets=100))
    call = ufrag()
    for first in range(0, 400, 50):
        kinds = (check(call), media(), b"", b"\x05", media(1500))
        strangers = [(client(7), media())] * 10
        plane.up([*strangers, *((client(n % 3), kinds[n % 5]) for n in range(first, first + 50))])
    forwarded = plane.count(Counter.UP_FORWARDED)
    assert forwarded + sum(plane.drops().values()) == plane.count(Counter.UP_PACKETS) == 480
    assert all(plane.drops()[f"{kind}_limited"] for kind in ("packets", "checks", "rate"))


def test_a_batch_of_known_flows_asks_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Media of live flows costs nothing more than without limits."""
    plane = limited(Rates(strangers=10, checks=10))
    plane.up([(client(1), check(ufrag()))])

    def asked(*_: object) -> None:
        raise AssertionError("a limit was asked")

    monkeypatch.setattr(TokenBuckets, "admit", asked)
    assert plane.up([(client(1), media())] * 300)
    assert plane.up([(client(1), media())])
