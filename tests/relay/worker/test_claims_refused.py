"""Claims that are not believed, floods of them, and what bounds their memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from relay.shared.claims import ClaimMaps, address_name
from relay.shared.counters import Counter
from relay.shared.owner_map import OwnerMap
from relay.worker.claims import CLAIMS_PER_S
from tests.relay import kit
from tests.relay.kit import CLUSTER, NOW_MS, NOW_S, check, media
from tests.relay.two_workers import ME, NEW, OLD, OTHER, TAGGER, THIRD, Node, Relay, connected
from wire import trunk
from wire.claim import ALIVE, NOWHERE, Claim, sender
from wire.keys import KeyRing
from wire.trunk import FrameType, Tagger


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def refused(relay: Relay, *datagrams: tuple[bytes, bytes]) -> dict[str, int]:
    """The drop counters after these came; nothing was claimed by them."""
    relay.down(0, *datagrams)
    assert relay.answers(0) == []
    assert relay.count(0, Counter.CLAIMS) == 0
    assert len(relay.slots[0].claims.by_ufrag) == 0
    named = relay.workers[0].named()
    return {k.removeprefix("drop_"): v for k, v in named.items() if k.startswith("drop_") and v}


def test_claims_of_what_is_not_ours(relay: Relay) -> None:
    """A ufrag that was made up, cut, or is of another cluster."""
    good = relay.old.ufrag()
    made_up = ("0" if good[-1] != "0" else "1").join([good[:-1], ""])
    foreign = kit.ufrag(*OLD, cluster=CLUSTER + 1)
    ufrags = [made_up, foreign, "!" * 24, "0" * 24]
    claims = [Claim(ufrag, relay.new.number) for ufrag in ufrags]
    assert refused(relay, relay.new.claims_all(*claims)) == {"trunk_claim_token": 4}


def test_claims_for_an_owner_that_is_none(relay: Relay) -> None:
    """Unknown to the directory, over, fenced by the claim itself."""
    ufrag, new = relay.old.ufrag(), relay.new.number
    owners = [(sender(77, 1), 0), (new - 1, 0), (new + 1, 0), (new, new)]
    claims = [Claim(ufrag, owner, fenced, ME) for owner, fenced in owners]
    assert refused(relay, relay.new.claims_all(*claims)) == {"trunk_claim_owner": 4}


def test_an_owner_that_the_directory_hears_of_later(relay: Relay) -> None:
    """It is refused until then, and its claim comes again."""
    young = Node(400, 1)
    ufrag = connected(relay, relay.old)
    assert refused(relay, young.claims(ufrag)) == {"trunk_sender": 1}
    relay.learn(young)
    relay.down(0, young.claims(ufrag))
    assert relay.up(0, (ME, media())) == [young.address]


def test_claims_of_strangers(relay: Relay) -> None:
    """A wrong key, an epoch of before, another source, a recording: as every datagram of theirs."""
    ufrag = connected(relay, relay.old)
    good = relay.new.claims(ufrag)
    claim = Claim(ufrag, relay.new.number, 0, ME).frame()
    keyless = Tagger(KeyRing(2, {2: b"x" * 32}))
    forged = trunk.pack(keyless, relay.new.number, NOW_S, 9, [claim], FrameType.CLAIM)
    before = trunk.pack(TAGGER, relay.new.number - 1, NOW_S, 9, [claim], FrameType.CLAIM)
    said = [(relay.new.address, forged), (relay.new.address, before), (relay.old.address, good[1])]
    expected = {"trunk_tag": 1, "trunk_sender": 1, "trunk_source": 1}
    assert refused(relay, *said) == expected
    relay.down(0, good, good)
    assert relay.count(0, Counter.DROP_TRUNK_REPLAY) == 1
    assert relay.count(0, Counter.CLAIMS) == 1


def test_frames_that_are_no_claims_spoil_no_other(relay: Relay) -> None:
    """In one datagram, and beside it; what is not for a relay is no frame type of it."""
    ufrag = connected(relay, relay.old)
    good = Claim(ufrag, relay.new.number, 0, ME).frame()
    mixed = relay.new.says(FrameType.CLAIM, (ME, b"x" * 31), good, (ME, b""))
    answer = relay.new.says(FrameType.CLAIMED, good)
    cut = relay.new.says(FrameType.CLAIM, good)
    datagrams = [answer, (cut[0], cut[1][:-1]), mixed, relay.new.speaks()]
    assert relay.down(0, *datagrams) == [(ME, media(40))]
    assert [claim.ufrag for _, claim in relay.answers(0)] == [ufrag]
    assert relay.count(0, Counter.DROP_TRUNK_CLAIM) == 2
    assert relay.count(0, Counter.DROP_TRUNK_LENGTH) == 1
    assert relay.count(0, Counter.DROP_TRUNK_FRAME_TYPE) == 1


def test_a_flood_of_claims_is_limited(relay: Relay) -> None:
    """What is beyond a second's share is dropped before it is looked at, and only that."""
    claims = [Claim(relay.old.ufrag(), relay.new.number) for _ in range(20)]
    for _ in range(CLAIMS_PER_S // 20):
        relay.down(0, relay.new.claims_all(*claims))
    relay.down(0, relay.new.claims_all(*claims))
    assert relay.count(0, Counter.DROP_TRUNK_CLAIM_LIMITED) == 20
    relay.now_ms += 1000
    relay.down(0, relay.new.claims_all(*claims))
    assert relay.count(0, Counter.DROP_TRUNK_CLAIM_LIMITED) == 20


def test_a_full_table_forgets_the_calls_that_nobody_checks(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check is a use, in whichever worker it comes."""
    monkeypatch.setattr(OwnerMap, "_bucket", staticmethod(lambda _: 0))
    ufrags = [relay.old.ufrag() for _ in range(16)]
    for ufrag in ufrags:
        relay.now_ms += 1
        relay.down(0, relay.new.claims(ufrag, NOWHERE))
    relay.now_ms += 1
    assert relay.up(1, (OTHER, check(ufrags[0]))) == [relay.new.address]
    assert relay.up(0, (ME, check(ufrags[1]))) == [relay.new.address]
    for _ in range(15):
        relay.now_ms += 1
        relay.down(0, relay.new.claims(relay.old.ufrag(), NOWHERE))
    # The last first: an entry that is found next door is copied, and another gives way to it.
    last_first = reversed(ufrags)
    found = [relay.up(0, (ME, check(ufrag))) == [relay.new.address] for ufrag in last_first]
    assert found == [False] * 14 + [True, True]
    assert len(relay.slots[0].claims.by_ufrag) == 16


def test_the_memory_next_door_may_hold_anything(relay: Relay) -> None:
    """Whatever a broken neighbour has written, this worker goes on and owners are nodes of now."""
    chance = np.random.default_rng(3)
    octets = bytearray(ClaimMaps.SIZE_BYTES)
    raw = np.frombuffer(octets, np.uint8)
    raw[:] = chance.integers(0, 256, raw.size, np.uint8)
    relay.slots[1].claims = broken = ClaimMaps(octets)
    relay.workers[0].close()
    relay.workers[0] = relay.worker(0)
    row = broken.by_address._rows[0]
    name = address_name(ME)
    row[:3] = np.frombuffer(name, np.uint64)
    ufrag = connected(relay, relay.new)
    relay.down(0, relay.third.claims(ufrag))
    relay.up(0, (ME, check(ufrag)), (ME, media()))
    assert relay.workers[0].claims.owner_at(ME, NOW_MS) in {None, OLD, NEW, THIRD}


def test_signs_of_life_are_heard(relay: Relay) -> None:
    """As every datagram of a node is; they are not answered and reach no client."""
    assert relay.down(0, relay.new.says(FrameType.ALIVE, ALIVE)) == []
    assert relay.count(0, Counter.SIGNS_OF_LIFE) == 1
    assert relay.answers(0) == []
    heard = relay.shared.nodes.heard
    assert int(heard[NEW.node]) == NOW_MS
    relay.now_ms += 7
    relay.down(1, relay.old.speaks(), (relay.third.address, relay.new.speaks()[1]))
    assert [int(heard[node.node]) for node in (OLD, NEW, THIRD)] == [NOW_MS + 7, NOW_MS, 0]
