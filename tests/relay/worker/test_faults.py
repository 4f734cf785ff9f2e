"""Whatever raises in a worker costs the packet it raised at, and nothing else."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from relay.shared import control
from relay.shared.counters import Counter
from relay.shared.fault_message import read_fault
from relay.shared.latency import Latency
from relay.worker.downlink import FEW_DATAGRAMS, Downlink
from relay.worker.faults import TELL_INTERVAL_S, Faults
from relay.worker.paths import UpPath
from relay.worker.uplink import Uplink
from relay.worker.uplink_few import FEW, FewUplink
from tests.relay.kit import (
    EPOCH,
    NODE,
    NOW_MS,
    Plane,
    check,
    client,
    from_node,
    load,
    media,
    ufrag,
)
from transceiver.engine.trunk_socket import TrunkSocket
from trunkline.process.address import Address
from wire import stun, trunk
from wire.address import pack_address
from wire.trunk import Tagger

POISON = client(7)
POISON_PORT = int.from_bytes(POISON[16:18], "little")


class Broken(Exception):  # noqa: N818
    """A fault that nobody thought of."""


@pytest.fixture
def socket_() -> Iterator[TrunkSocket]:
    """Takes what a worker sends, whichever way."""
    bound = TrunkSocket(Address("127.0.0.1", 0))
    yield bound
    bound.close()


def up_path(plane: Plane, node: TrunkSocket) -> UpPath:
    """The plane's way up, which sends on a real socket and to it."""
    plane.nodes.put(NODE, EPOCH, pack_address(node.address.host, node.address.port))
    return UpPath(
        node.fileno(),
        node.fileno(),
        plane.from_clients,
        plane.uplink,
        plane.writer,
        None,  # type: ignore[arg-type]  # nobody is asked in these tests
        plane.counts,
        Latency(memoryview(bytearray(8 * Latency.WORDS)).cast("Q")),
    )


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up the flow of POISON raises, one by one and by arrays."""
    find, slot = Uplink._find, FewUplink._slot

    def broken_find(self: Uplink, which: object) -> object:
        ports = self._received.names[which, 0] >> np.uint64(16) & np.uint64(0xFFFF)  # type: ignore[index]
        if (ports == POISON_PORT).any():
            raise Broken(POISON)
        return find(self, which)  # type: ignore[arg-type]

    def broken_slot(self: FewUplink, index: int, high: int, low: int, port: int) -> int:
        if port == POISON_PORT:
            raise Broken(POISON)
        return slot(self, index, high, low, port)

    monkeypatch.setattr(Uplink, "_find", broken_find)
    monkeypatch.setattr(FewUplink, "_slot", broken_slot)


@pytest.mark.parametrize("bad_ones", [1, 2])
@pytest.mark.parametrize("size", [2, 3, FEW, FEW + 1, 60])
def test_a_packet_that_raises_takes_no_other_with_it(
    size: int, bad_ones: int, socket_: TrunkSocket, poisoned: None
) -> None:
    """In a handful and in a large batch the others go their way, and the books are right."""
    plane = Plane()
    path = up_path(plane, socket_)
    callers = [client(number) for number in range(7)]
    plane.up([(address, check(ufrag())) for address in callers])
    before = plane.count(Counter.UP_PACKETS)
    packets = [(callers[number % 7], media(50 + number)) for number in range(size)]
    packets[-bad_ones:] = [(POISON, media(999))] * bad_ones
    load(plane.from_clients, packets)
    path._forward(size, NOW_MS)
    sent = []
    while some := socket_.receive(time.monotonic()):
        sent += [trunk.read(plane.tagger, datagram).frames for datagram, _ in some]
    assert [frame for frames in sent for frame in frames] == packets[:-bad_ones]
    assert plane.drops() == {"up_fault": bad_ones}
    assert plane.count(Counter.UP_PACKETS) == before + size
    assert plane.count(Counter.UP_FORWARDED) == 7 + size - bad_ones


def test_a_check_that_raises_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """STUN is where strangers can write most; each is read by itself."""
    real = stun.read

    def read(packet: bytes) -> stun.Message:
        if b"poison" in packet:
            raise RecursionError
        return real(packet)

    monkeypatch.setattr(stun, "read", read)
    plane = Plane()
    bad = check(ufrag(), username=b"poison:x")
    sent = plane.up([(client(1), check(ufrag())), (client(2), bad), (client(3), check(ufrag()))])
    assert [address for _, d in sent for address, _ in d.frames] == [client(1), client(3)]
    assert plane.drops() == {"up_fault": 1}


@pytest.mark.parametrize("good_ones", [2, FEW_DATAGRAMS + 40])
@pytest.mark.parametrize("step", ["_is_from", "_frames", None])
def test_a_trunk_datagram_that_raises_takes_no_other_with_it(
    step: str | None, good_ones: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises by arrays is done one by one; whatever raises there is that datagram's."""
    plane = Plane()
    plane.downlink.checks_source = True
    good = [from_node((client(1), media(40)), count=number) for number in range(good_ones)]
    holder: type = Downlink if step else Tagger
    real = getattr(holder, step or "check")

    def broken(self: object, first: object, *others: object) -> object:
        if first == 1 or (isinstance(first, memoryview) and POISON in bytes(first)):
            raise Broken(POISON)
        return real(self, first, *others)

    def broken_arrays(self: Downlink, _: object) -> object:
        raise Broken(POISON)

    monkeypatch.setattr(holder, step or "check", broken)
    monkeypatch.setattr(Downlink, "_tagged_by_arrays", broken_arrays)
    monkeypatch.setattr(Downlink, "_lay_out", broken_arrays)
    sent = plane.down([good[0], from_node((POISON, media(99)), count=999), *good[1:]])
    assert sent == [(client(1), media(40))] * good_ones
    assert plane.drops() == {"down_fault": 1}


def test_what_is_said_of_a_fault_holds_nothing_of_a_caller() -> None:
    """Kind and place, once in ten seconds; never the text of the exception."""
    supervisor, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor.setblocking(False)
    with supervisor, worker:
        counts = np.zeros(128, np.uint64)
        faults = Faults(counts)
        for _ in range(3):
            try:
                json.loads("{secret")
            except ValueError as error:
                faults.note(Counter.WORKER_FAULTS, error)
        faults.tell(worker, now_s=1.0)
        said = heard(supervisor)
        assert said.startswith("JSONDecodeError in ")
        assert said.rpartition("/")[2].startswith("decoder.py:")
        assert "secret" not in said
        faults.note(Counter.WORKER_FAULTS, Broken())
        faults.tell(worker, now_s=2.0)
        with pytest.raises(BlockingIOError):
            heard(supervisor)
        faults.tell(worker, now_s=1.0 + TELL_INTERVAL_S)
        assert heard(supervisor) == "Broken in ?"
        assert counts[Counter.WORKER_FAULTS] == 4


def heard(supervisor: socket.socket) -> str:
    received = control.receive(supervisor)
    assert received is not None
    said = read_fault(received[0])
    assert said is not None
    return said
