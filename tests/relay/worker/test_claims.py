"""Calls that another process owns than their token says, and owners that were lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relay.shared.counters import Counter
from relay.shared.nodes import FlowOwner
from relay.worker import answers
from relay.worker.claims import ADDRESS_MS
from tests.relay.engine import Engine, Shared, Slot
from tests.relay.kit import NOW_MS, NOW_S, TOKEN_KEYS, TRUNK_KEYS, check, media
from tests.relay.two_workers import ME, NEW, OLD, OTHER, Node, Relay, connected
from wire.claim import ALIVE, NOBODY, NOWHERE, Claim
from wire.trunk import FrameType


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


@pytest.mark.parametrize("packets", [1, 40])
def test_a_claimed_call_goes_to_its_owner(relay: Relay, packets: int) -> None:
    """Media and checks, in small batches and in large ones, from the claim on."""
    ufrag = connected(relay, relay.old)
    assert relay.down(0, relay.new.claims(ufrag)) == []
    assert relay.up(0, *[(ME, media(50 + n)) for n in range(packets)]) == (
        [relay.new.address] * packets
    )
    assert relay.up(0, (ME, check(ufrag.lower()))) == [relay.new.address]
    assert relay.up(0, (OTHER, check(ufrag))) == [relay.new.address]  # the caller changes networks
    assert relay.answers(0) == [(relay.new.address, Claim(ufrag, relay.new.number, 0, ME))]
    assert relay.count(0, Counter.FLOWS_CLAIMED) == 1
    assert relay.count(0, Counter.CHECKS_CLAIMED) == 2


def test_the_other_worker_follows(relay: Relay) -> None:
    """It had the flow from before; and it routes the ufrag as well."""
    ufrag = connected(relay, relay.old, worker=1)
    relay.down(0, relay.new.claims(ufrag))
    assert relay.up(1, (ME, media())) == [relay.new.address]
    assert relay.up(1, (OTHER, check(ufrag))) == [relay.new.address]
    assert relay.count(1, Counter.FLOWS_CLAIMED) == 1


def test_a_flow_that_comes_from_next_door_follows(relay: Relay) -> None:
    """The table next door has not followed yet when an unknown address is looked up there."""
    ufrag = connected(relay, relay.old, worker=1)
    relay.down(0, relay.new.claims(ufrag))
    assert relay.workers[1].flows.rows(0, 9, NOW_MS)[0][0].node == OLD.node
    assert relay.up(0, (ME, media())) == [relay.new.address]


@pytest.mark.parametrize("known", [OLD, None])
def test_what_the_store_says_is_older_than_a_claim(relay: Relay, known: FlowOwner | None) -> None:
    """A relay without the flow is claimed for, asks Redis, and Redis names the old owner."""
    relay.down(0, relay.new.claims(relay.old.ufrag(), OTHER))  # so that nobody looks next door
    worker = relay.workers[0]
    assert relay.up(0, (ME, media())) == []
    relay.down(0, relay.new.claims(relay.old.ufrag(), ME))
    assert worker.questions() == [ME]
    worker.hear({ME: known}, NOW_MS)
    assert [node for node, _ in worker.released(NOW_S)] == [relay.new.address]


def test_a_call_that_moves_on_is_its_last_owners(relay: Relay) -> None:
    """Also when the claims come to different workers within one millisecond."""
    ufrag = connected(relay, relay.old)
    relay.down(0, relay.new.claims(ufrag))
    relay.up(1)
    relay.down(1, relay.third.claims(ufrag))
    for worker in (0, 1):
        assert relay.up(worker, (ME, media())) == [relay.third.address]
        assert relay.up(worker, (ME, check(ufrag))) == [relay.third.address]


def test_an_owner_may_be_claimed_for_by_the_one_before(relay: Relay) -> None:
    """A check still reached the old owner, which says where the call is; the answer is to it."""
    ufrag = connected(relay, relay.old)
    claim = Claim(ufrag, relay.new.number, NOBODY, ME)
    relay.down(0, relay.old.claims_all(claim))
    assert relay.up(0, (ME, media())) == [relay.new.address]
    assert relay.answers(0) == [(relay.old.address, claim)]


def test_a_claim_that_comes_again_is_answered_and_changes_nothing(relay: Relay) -> None:
    """Not even where a check has said meanwhile whose the address is."""
    ufrag = connected(relay, relay.old)
    for _ in range(3):
        relay.down(0, relay.new.claims(ufrag))
    assert len(relay.answers(0)) == 3
    assert relay.count(0, Counter.FLOWS_CLAIMED) == 1
    assert len(relay.slots[0].claims.by_ufrag) == len(relay.slots[0].claims.by_address) == 1
    connected(relay, relay.third)  # a NAT gave the address to somebody else
    relay.down(0, relay.new.claims(ufrag))
    assert relay.up(0, (ME, media())) == [relay.third.address]


def test_a_check_is_newer_than_a_claim_of_its_address(relay: Relay) -> None:
    """For every worker, and for what the store says."""
    ufrag = connected(relay, relay.old)
    relay.down(0, relay.new.claims(ufrag))
    assert relay.up(1, (ME, media())) == [relay.new.address]  # it has the flow now, and the claim
    connected(relay, relay.third, worker=1)
    assert relay.up(0, (ME, media())) == [relay.third.address]
    assert relay.up(0, (OTHER, check(ufrag))) == [relay.new.address]


def test_a_claim_without_an_address(relay: Relay) -> None:
    """The next check finds the owner, and moves the flow."""
    ufrag = connected(relay, relay.old)
    relay.down(0, relay.new.claims(ufrag, NOWHERE))
    assert relay.up(0, (ME, media())) == [relay.old.address]
    assert relay.up(0, (ME, check(ufrag)), (ME, media())) == [relay.new.address] * 2
    assert len(relay.slots[0].claims.by_address) == 0
    relay.down(0, relay.new.claims(ufrag, OTHER))  # the address is known now
    assert len(relay.slots[0].claims.by_address) == 1


def test_a_claimed_address_counts_for_a_minute(relay: Relay) -> None:
    """Then its caller may be long gone; a live call is claimed again before."""
    ufrag = connected(relay, relay.old, worker=1)
    relay.down(0, relay.new.claims(ufrag, OTHER))
    claims = relay.workers[1].claims
    relay.workers[1].claims.follow()
    assert claims.owner_at(OTHER, NOW_MS + ADDRESS_MS - 1) == NEW
    assert claims.owner_at(OTHER, NOW_MS + ADDRESS_MS) is None
    relay.now_ms += 20_000
    relay.down(0, relay.new.claims(ufrag, OTHER))
    assert claims.owner_at(OTHER, NOW_MS + ADDRESS_MS) == NEW


# a lost owner


@pytest.mark.parametrize("worker", [0, 1])
def test_nothing_of_a_fenced_owner_is_believed(relay: Relay, worker: int) -> None:
    """Not by the worker that heard of it, and not by the other: packets, claims, signs of life."""
    ufrag = connected(relay, relay.old)
    relay.down(0, relay.new.claims(ufrag, fenced=relay.old.number))
    back = Claim(ufrag, relay.old.number, relay.new.number, ME)
    said = [relay.old.speaks(), relay.old.claims_all(back), relay.old.says(FrameType.ALIVE, ALIVE)]
    assert relay.down(worker, *said) == []
    assert relay.count(worker, Counter.DROP_TRUNK_FENCED) == 3
    assert relay.down(worker, relay.new.speaks()) == [(ME, media(40))]
    assert relay.up(worker, (ME, media())) == [relay.new.address]
    relay.learn(relay.old)  # an old snapshot
    assert relay.down(worker, relay.old.speaks()) == []


def test_within_a_batch_a_fence_holds_from_where_it_stands(relay: Relay) -> None:
    """What came before it in the queue was sent before it."""
    ufrag = connected(relay, relay.old)
    fence = relay.new.claims(ufrag, fenced=relay.old.number)
    first, late, fresh = relay.old.speaks(ME), relay.old.speaks(OTHER), relay.new.speaks(ME)
    assert relay.down(0, first, fence, late, fresh) == [(ME, media(40))] * 2
    assert relay.count(0, Counter.DROP_TRUNK_FENCED) == 1


def test_calls_of_a_fenced_owner_that_nobody_claimed_are_over(relay: Relay) -> None:
    """Their flows and checks are stale, as after every change of an index's owner."""
    ufrag = connected(relay, relay.old, address=OTHER)
    relay.down(0, relay.new.claims(relay.old.ufrag(), ME, relay.old.number))
    assert relay.up(0, (OTHER, media())) == []
    assert relay.up(0, (OTHER, check(ufrag))) == []
    assert relay.count(0, Counter.DROP_STALE_EPOCH) == 2
    relay.down(0, relay.third.claims(ufrag, OTHER))
    assert relay.up(0, (OTHER, media()), (OTHER, check(ufrag))) == [relay.third.address] * 2


def test_a_node_that_registers_again_is_believed(relay: Relay) -> None:
    """It has another epoch, and new calls; those it lost stay lost to it."""
    ufrag = connected(relay, relay.old)
    relay.down(0, relay.new.claims(ufrag, fenced=relay.old.number))
    again = Node(OLD.node, OLD.epoch + 2)
    relay.learn(again)
    connected(relay, again, address=OTHER)
    assert relay.down(0, again.speaks(OTHER)) == [(OTHER, media(40))]
    assert relay.up(0, (ME, check(ufrag))) == [relay.new.address]


# workers and relays that come and go


def test_a_worker_that_is_replaced_leaves_its_claims(relay: Relay) -> None:
    """It may have died between writing one and moving the flow."""
    ufrag = connected(relay, relay.old)
    relay.down(1, relay.new.claims(ufrag, fenced=relay.old.number))
    relay.workers[0].close()
    relay.workers[0] = relay.worker(0)
    assert relay.up(0, (ME, media())) == [relay.new.address]
    relay.workers[1].close()
    relay.workers[1] = relay.worker(1)
    assert relay.up(1, (ME, check(ufrag))) == [relay.new.address]
    assert relay.down(1, relay.old.speaks()) == []


def test_a_relay_that_takes_over_reads_the_claims_of_the_one_before(relay: Relay) -> None:
    """Its fences too, also one that came after it had read the nodes."""
    ufrag = connected(relay, relay.old)
    successor = Shared()
    for node in (relay.old, relay.new):
        successor.nodes.put(*node.owner, node.address)
    slot = Slot()
    worker = Engine(successor, slot, TOKEN_KEYS, TRUNK_KEYS)
    worker.read(relay.slots)
    relay.down(0, relay.new.claims(ufrag, fenced=relay.old.number))
    with worker.turn():
        sent = worker.up([(ME, media())], NOW_MS, NOW_S)
    assert [node for node, _ in sent] == [relay.new.address]
    assert worker.down([relay.old.speaks()], NOW_MS, NOW_S) == []
    assert worker.count(Counter.DROP_TRUNK_FENCED) == 1
    worker.close()


def test_an_answer_waits_for_the_turn_of_every_other_worker(relay: Relay) -> None:
    """A worker in mid-turn may hold packets that it read before the claim."""
    ufrag = connected(relay, relay.old)
    relay.slots[1].turns.begin()
    relay.down(0, relay.new.claims(ufrag))
    assert relay.answers(0) == []
    assert len(relay.workers[0].answers) == 1
    relay.slots[1].turns.end()
    assert len(relay.answers(0)) == 1


@pytest.mark.parametrize("turns", [1, 2])
def test_a_turn_that_began_after_the_claim_is_not_waited_for(relay: Relay, turns: int) -> None:
    """It has followed the claim; and so has whoever replaced a worker that died at work."""
    ufrag = connected(relay, relay.old)
    relay.slots[1].turns.begin()
    relay.down(0, relay.new.claims(ufrag))
    for _ in range(turns):
        relay.slots[1].turns.begin()
    assert len(relay.answers(0)) == 1


def test_a_worker_that_hangs_is_not_waited_for_for_ever(relay: Relay) -> None:
    """Its supervisor has ended it by then."""
    ufrag = connected(relay, relay.old)
    relay.slots[1].turns.begin()
    relay.down(0, relay.new.claims(ufrag))
    relay.now_ms += answers.WAIT_MS - 1
    assert relay.answers(0) == []
    relay.now_ms += 1
    assert len(relay.answers(0)) == 1


def test_answers_that_wait_are_bounded(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose answer found no room comes again."""
    monkeypatch.setattr(answers, "MAX_WAITING", 3)
    relay.slots[1].turns.begin()
    ufrags = [relay.old.ufrag() for _ in range(5)]
    for ufrag in ufrags:
        relay.down(0, relay.new.claims(ufrag))
    assert len(relay.workers[0].answers) == 3
    relay.slots[1].turns.end()
    assert [claim.ufrag for _, claim in relay.answers(0)] == ufrags[:3]
