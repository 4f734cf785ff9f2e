"""The short form of `python -m tests.fuzz`."""

from __future__ import annotations

import gc

import pytest

from relay.shared.counters import Counter
from tests.fuzz.relay_engine import Attack, objects

PACKETS = 30_000
# A few hundred blocks come and go with caches of the interpreter; one a packet would be thousands.
SLACK_BLOCKS = 2000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated_packets_raise_nothing_and_leave_nothing(seed: int) -> None:
    """Every packet is forwarded, parked or counted, and every defence is reached."""
    attack = Attack(seed)
    attack.run(PACKETS)
    attack.close()
    reached = attack.figures()
    for name in ("rate_limited", "checks_limited", "unknown_address", "stun_integrity"):
        assert reached[f"drop_{name}"]
    for name in ("recovered_sibling", "recovered_redis", "parked_released", "flows_made"):
        assert reached[name]
    for name in ("claims", "claims_answered", "flows_claimed", "checks_claimed", "signs_of_life"):
        assert reached[name]
    for name in ("trunk_claim_token", "trunk_claim_owner"):
        assert reached[f"drop_{name}"]
    assert reached["down_packets"]
    assert attack.engine.count(Counter.DROP_TRUNK_TAG)


def test_the_same_seed_throws_the_same_packets() -> None:
    """What a long run finds, a second run finds again."""
    attacks = [Attack(7), Attack(7)]
    for attack in attacks:
        attack.run(2000)
        attack.close()
    assert attacks[0].figures() == attacks[1].figures()


def test_memory_does_not_grow_with_packets() -> None:
    """With the collector off, as in a worker: the second half leaves no more objects behind."""
    attack = Attack(4)
    gc.collect()
    gc.disable()
    try:
        attack.run(PACKETS)
        remembered = attack.engine.parking.remembered
        before = objects()
        attack.run(PACKETS)
        # Bounded memories may still fill: some objects for each entry.
        filled = 4 * max(0, attack.engine.parking.remembered - remembered)
        assert objects() - before <= SLACK_BLOCKS + filled
    finally:
        gc.enable()
        attack.close()
