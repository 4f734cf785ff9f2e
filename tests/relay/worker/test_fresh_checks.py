"""A recorded check is worth nothing from elsewhere; one call makes a bounded number of flows."""

from __future__ import annotations

import os

import numpy as np
import pytest

from relay.shared import memory
from relay.shared.check_log import LOG_ENTRIES, CheckLog, Seen
from relay.shared.counters import Counter
from relay.shared.nodes import SIZE_BYTES
from relay.worker.fresh_checks import ADDRESS_BURST, ADDRESS_RATE_PER_S, FreshChecks
from tests.relay.kit import NOW_MS, Plane, check, client, media, ufrag


def log() -> CheckLog:
    return CheckLog(memoryview(bytearray(CheckLog.SIZE_BYTES)))


def plane(shared: CheckLog | None = None) -> Plane:
    it = Plane()
    it.uplink._fresh = FreshChecks(shared or log())
    return it


def test_a_recorded_check_makes_no_flow_from_another_address() -> None:
    """Whoever replays a caller's check from elsewhere gets no flow, and nothing is forwarded."""
    it = plane()
    recorded = check(ufrag())
    assert it.up([(client(1), recorded)])
    assert it.up([(client(2), recorded)]) == []
    assert it.drops() == {"stun_replay": 1}
    assert len(it.flows) == 1


def test_devices_that_all_send_one_transaction_id_call_side_by_side() -> None:
    """An id belongs to its call: what one device sent says nothing of another's, or its next."""
    it = plane()
    calls = [ufrag() for _ in range(20)]
    for number, call in enumerate(calls):
        for _ in range(3):  # each repeats it, too
            assert it.up([(client(number), check(call, transaction_id=b"libpeer has1"))])
    assert len(it.flows) == len(calls)
    assert it.drops() == {}
    recording = check(calls[0], transaction_id=b"libpeer has1")
    assert it.up([(client(70), recording)]) == []
    assert it.drops() == {"stun_replay": 1}


def test_an_entry_of_the_log_is_one_word() -> None:
    """Whatever it is that a transaction is known by."""
    assert len(log()._entries) * 8 == 2 << 20


def test_a_recorded_check_does_not_pass_over_an_own_flow_to_the_same_node() -> None:
    """An attacker who is a caller of that node himself cannot push the recording through either."""
    it = plane()
    recorded = check(ufrag())
    it.up([(client(1), recorded), (client(2), check(ufrag()))])
    assert it.up([(client(2), recorded)]) == []
    assert it.drops() == {"stun_replay": 1}


def test_a_recorded_check_does_not_move_a_flow_back() -> None:
    """After a call moved on, its old check from a neighbour's address moves nothing."""
    it = plane()
    it.nodes.put(5, 1, client(99))
    recorded = check(ufrag())
    it.up([(client(1), recorded)])
    it.up([(client(2), check(ufrag(node=5, epoch=1)))])
    assert it.up([(client(2), recorded)]) == []
    assert it.count(Counter.FLOWS_MOVED) == 0


def test_a_repeated_check_from_its_own_address_passes() -> None:
    """STUN over UDP retransmits (RFC 8489 §6.2.1): the same bytes from one address are good."""
    it = plane()
    repeated = check(ufrag())
    for _ in range(3):
        assert it.up([(client(1), repeated)])
    assert it.drops() == {}


@pytest.mark.parametrize("together", [False, True])
def test_a_repeated_check_does_not_move_a_flow_back(together: bool) -> None:
    """A late copy of a check, after its address became another caller's, in one batch or three."""
    it, me = plane(), client(1)
    it.nodes.put(5, 1, client(99))
    old, new = check(ufrag()), check(ufrag(node=5, epoch=1))
    packets = [(me, old), (me, new), (me, old)]
    for batch in [packets] if together else [[packet] for packet in packets]:
        it.up(batch)
    assert it.drops() == {"stun_replay": 1}
    [(address, _)] = it.up([(me, media())])
    assert address == client(99)


def test_a_repeated_check_brings_a_flow_back_that_nobody_has() -> None:
    """After the flow is gone a retransmission is as good as the first."""
    it, repeated = plane(), check(ufrag())
    it.up([(client(1), repeated)])
    it.flows.expire(NOW_MS + 60_001, 60_000, it.flows.slot_count)
    assert it.up([(client(1), repeated)], NOW_MS + 60_001)
    assert it.up([(client(1), media())], NOW_MS + 60_001)


def test_two_copies_in_one_batch_make_one_flow() -> None:
    """Both are forwarded, and the books say one flow."""
    it, repeated = plane(), check(ufrag())
    [(_, datagram)] = it.up([(client(1), repeated)] * 2)
    assert len(datagram.frames) == 2
    assert it.count(Counter.FLOWS_MADE) == 1


def test_the_log_is_one_for_all_workers() -> None:
    """What one worker saw another refuses: the kernel gives other addresses to other workers."""
    buffer = memoryview(bytearray(CheckLog.SIZE_BYTES))
    recorded = check(ufrag())
    assert plane(CheckLog(buffer)).up([(client(1), recorded)])
    assert plane(CheckLog(buffer)).up([(client(2), recorded)]) == []


def test_an_unproven_check_writes_nothing_into_the_log() -> None:
    """A wrong password, from a stranger, cannot claim a transaction."""
    it = plane()
    it.up([(client(1), check(ufrag(), password="w" * 32))])
    assert it.drops() == {"stun_integrity": 1}
    assert not any(it.uplink._fresh._log._entries)  # type: ignore[union-attr]


def test_the_log_forgets_and_does_not_grow() -> None:
    """After many more transactions than it has places the oldest are overwritten, none refused."""
    it = log()
    first = os.urandom(12)
    assert it.seen("call", first, client(1)) is Seen.NEVER
    assert it.seen("call", first, client(2)) is Seen.ELSEWHERE
    for number in range(6 * LOG_ENTRIES):
        it.seen("call", number.to_bytes(12), client(1))
        if number % 1000 == 0 and it.seen("call", first, client(3)) is Seen.NEVER:
            break
    else:
        raise AssertionError("never forgotten")


def test_a_ufrag_makes_a_bounded_number_of_flows() -> None:
    """The burst, then one in ten seconds; flows that exist go on, and other calls are untouched."""
    it = plane()
    call = ufrag()
    sources = [client(number) for number in range(40)]
    it.up([(source, check(call)) for source in sources])
    assert len(it.flows) == ADDRESS_BURST
    assert it.drops() == {"ufrag_addresses": 40 - ADDRESS_BURST}
    assert it.up([(sources[0], check(call))])
    assert it.up([(sources[39], check(ufrag()))])
    later_ms = NOW_MS + round(1000 / ADDRESS_RATE_PER_S)
    assert it.up([(client(50), check(call))], later_ms)
    assert it.up([(client(51), check(call))], later_ms) == []
    assert it.up([(sources[1], media())])


def test_directory_and_log_share_memory_without_touching() -> None:
    """The log lies behind the node table, and every mapping has the key of the first."""
    fd = memory.create("test", memory.SHARED_BYTES)
    nodes, check_log = memory.shared_nodes(fd), memory.shared_check_log(fd)
    nodes.put(65_535, 65_535, client(1))
    assert check_log.seen("call", bytes(12), client(1)) is Seen.NEVER
    assert memory.shared_check_log(fd).seen("call", bytes(12), client(2)) is Seen.ELSEWHERE
    assert nodes.epoch(65_535) == 65_535
    assert np.count_nonzero(nodes.names) > 0
    os.close(fd)
    assert memory.SHARED_BYTES >= SIZE_BYTES + CheckLog.SIZE_BYTES
