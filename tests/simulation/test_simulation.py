"""Fleets of many seeds live through trouble, and the oracle looks at every packet."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable
from typing import Any

import pytest

from relay.shared.flows import FlowTable
from relay.shared.nodes import NodeTable
from relay.worker.admission import Admission
from relay.worker.claims import Claims
from relay.worker.downlink import Downlink
from relay.worker.fresh_checks import FreshChecks
from relay.worker.parking import Parking
from relay.worker.siblings import Siblings
from relay.worker.uplink import Uplink
from tests.simulation.run import SimulationError, simulate
from wire.replay import ReplayWindow

SEEDS = range(16)
NOTICED_WITHIN = 16  # seeds


@pytest.fixture(scope="module")
def outcomes() -> dict[int, Tally[str]]:
    """What the relays of the seeds that have run counted."""
    return {}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_packet_goes_where_it_must(seed: int, outcomes: dict[int, Tally[str]]) -> None:
    """Loss, rebinding, dying processes, calls that move: payload, owner and bounds all hold."""
    outcomes[seed] = simulate(seed)


def test_the_seeds_reach_what_they_are_for(outcomes: dict[int, Tally[str]]) -> None:
    """Every way of recovery was taken and every defence was met, or the runs prove nothing."""
    if set(outcomes) != set(SEEDS):
        pytest.skip("only some of the seeds were run")
    total: Tally[str] = Tally()
    for outcome in outcomes.values():
        total.update(outcome)
    wanted = """flows_moved flows_expired recovered_sibling recovered_redis recovered_stun
        parked_released drop_parked_expired drop_unknown_address drop_stale_epoch drop_stun_replay
        drop_stun_integrity drop_token_mac drop_trunk_source drop_trunk_replay drop_trunk_tag
        drop_trunk_sender drop_trunk_fenced claims claims_answered flows_claimed checks_claimed
        flow_store_write_failures flow_store_unanswered flow_store_found"""
    assert {name for name in wanted.split() if not total[name]} == set()


def test_the_same_seed_is_the_same_run() -> None:
    """A failing seed can be seen again: every counter is the same."""
    assert simulate(3) == simulate(3)


@pytest.mark.parametrize(
    ("part", "method", "broken"),
    [
        (Admission, "authenticate", lambda *_: None),
        (FreshChecks, "admit", lambda *_: False),
        (Uplink, "_is_anothers", lambda *_: False),
        (Siblings, "_tables", lambda *_: []),
        (Downlink, "_is_from", lambda *_: True),
        (ReplayWindow, "accept", lambda *_: None),
        (NodeTable, "epoch", lambda self, index: int(self._one_epoch_plus_1[index])),
        (NodeTable, "_is_fenced", lambda *_: False),
        (Claims, "follow", lambda *_: None),
        (Claims, "checked", lambda *_: None),
        (Claims, "owner", lambda *_: None),
        (Claims, "owner_at", lambda *_: None),
        (FlowTable, "expire", lambda *_: 0),
        (Parking, "expire", lambda *_: 0),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_broken_rule_is_noticed(
    part: type, method: str, broken: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any one of the rules some seed fails, and says how to see it again."""
    monkeypatch.setattr(part, method, broken)
    with pytest.raises(SimulationError, match=r"python -m tests.simulation --seed \d"):
        for seed in range(NOTICED_WITHIN):
            simulate(seed)
