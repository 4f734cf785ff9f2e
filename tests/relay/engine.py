"""A whole worker without its sockets: everything `relay.worker` puts together, by hand.

What the kernel does is done here with lists, so that one process can run many workers, feed them
what it likes and read every packet they would send.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

from datagram.mmsg import ReceiveBatch
from relay.shared import control
from relay.shared.check_log import CheckLog
from relay.shared.claims import ClaimMaps, Turns
from relay.shared.counters import COUNTER_ROOM, Counter, Counts, named
from relay.shared.flows import FlowTable
from relay.shared.nodes import SIZE_BYTES, FlowOwner, NodeTable
from relay.shared.rates import Rates
from relay.shared.recovery_messages import owners_message, read_questions
from relay.worker import downlink, uplink
from relay.worker.admission import Admission
from relay.worker.answers import Answers
from relay.worker.claims import Claims
from relay.worker.control_frames import ControlFrames
from relay.worker.fresh_checks import FreshChecks
from relay.worker.limits import SourceLimits
from relay.worker.parking import Parking
from relay.worker.recovery import Recovery
from relay.worker.siblings import Sibling, Siblings
from relay.worker.trunk_writer import TrunkWriter
from tests.relay.kit import CLUSTER, load, unload
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.trunk import SLOT_BYTES, Tagger

Packets = list[tuple[bytes, bytes]]  # address and bytes

_MTU = 1400
_SWEEP_SLOTS = 256


@contextmanager
def repeatable(chance: random.Random) -> Iterator[None]:
    """Inside, random keys, ufrags and transactions are those of `chance`: a run can be repeated."""
    with mock.patch("os.urandom", chance.randbytes):
        yield


def _memory(size_bytes: int) -> memoryview:
    return memoryview(bytearray(size_bytes))


@dataclass
class Shared:
    """What all workers of a relay have in common."""

    nodes: NodeTable = field(default_factory=lambda: NodeTable(_memory(SIZE_BYTES)))
    checks: CheckLog = field(default_factory=lambda: CheckLog(_memory(CheckLog.SIZE_BYTES)))


@dataclass
class Slot:
    """What a worker's successor finds: its flows and its counters."""

    capacity: int = 1000
    counts: Counts = field(default_factory=lambda: np.zeros(COUNTER_ROOM, np.uint64))
    claims: ClaimMaps = field(default_factory=lambda: ClaimMaps(bytearray(ClaimMaps.SIZE_BYTES)))
    turns: Turns = field(default_factory=lambda: Turns(_memory(8).cast("Q")))
    flows: FlowTable = field(init=False)
    lost_parked: int = 0  # packets that waited in a worker that died

    def __post_init__(self) -> None:
        self.flows = FlowTable(_memory(FlowTable.size_bytes(self.capacity)), self.capacity)

    def sibling(self, until_ms: int | None = None) -> Sibling:
        """This slot as another worker reads it."""
        return Sibling(self.flows, self.claims, self.turns, until_ms)


@dataclass(frozen=True)
class Bounds:
    """What bounds a worker; the defaults are the settings' own."""

    rates: Rates = field(default_factory=lambda: Rates(strangers=2000, checks=50))
    parking_packets: int = 8192
    questions_per_s: int = 2000
    flow_idle_ms: int = 60_000


class Engine:
    """One worker's life. Times are ms of a monotonic clock and whole unix seconds."""

    def __init__(
        self,
        shared: Shared,
        slot: Slot,
        token_keys: KeyRing,
        trunk_keys: KeyRing,
        bounds: Bounds | None = None,
        batch: int = 64,
    ) -> None:
        self.bounds = bounds = bounds or Bounds()
        self.slot, self.counts, self.flows = slot, slot.counts, slot.flows
        self.sender = int.from_bytes(os.urandom(4))
        self.batch = batch
        tagger = Tagger(trunk_keys)
        self.from_clients = ReceiveBatch(batch, uplink.slot_bytes(_MTU))
        self.from_nodes = ReceiveBatch(batch, SLOT_BYTES)
        self.admission = Admission(token_keys, CLUSTER)
        self.writer = TrunkWriter(self.from_clients, shared.nodes, tagger, self.sender, _MTU)
        self.siblings = Siblings(shared.nodes, bounds.flow_idle_ms)
        self.parking = Parking(
            packets=bounds.parking_packets, questions_per_s=bounds.questions_per_s
        )
        self.claims = Claims(
            slot.claims, self.siblings, self.flows, shared.nodes, self.admission, self.counts
        )
        self.answers = Answers(self.siblings, self.writer, self.counts)
        self.recovery = Recovery(
            self.from_clients,
            self.flows,
            shared.nodes,
            self.writer,
            self.counts,
            self.siblings,
            self.parking,
            self.claims,
        )
        self.uplink = uplink.Uplink(
            self.from_clients,
            self.flows,
            shared.nodes,
            self.admission,
            self.writer,
            self.counts,
            _MTU,
            SourceLimits(bounds.rates),
            self.recovery,
            FreshChecks(shared.checks),
            claims=self.claims,
        )
        self.replay = ReplayWindow()
        self.downlink = downlink.Downlink(
            self.from_nodes,
            shared.nodes,
            tagger,
            self.replay,
            self.counts,
            control=ControlFrames(self.claims, self.answers, self.counts),
        )
        self.downlink.checks_source = True
        self._supervisor, self._channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._supervisor.setblocking(False)

    def close(self) -> None:
        """Let go of the control channel."""
        self._supervisor.close()
        self._channel.close()

    def read(self, slots: Sequence[Slot]) -> None:
        """Read these siblings' memory too."""
        self.siblings.add([slot.sibling() for slot in slots])

    def rotate(self, token_keys: KeyRing, trunk_keys: KeyRing) -> None:
        """Other keys from now on."""
        tagger = Tagger(trunk_keys)
        self.writer.rotate(tagger)
        self.downlink.rotate(tagger)
        self.admission.rotate(token_keys)

    def up(self, packets: Packets, now_ms: int, unix_s: int) -> Packets:
        """Trunk datagrams, each with its node's address, for one batch of clients' packets."""
        load(self.from_clients, packets)
        datagrams = self.uplink.route(len(packets), now_ms, unix_s)
        return unload(self.writer.outgoing, datagrams) + self.released(unix_s)

    def begin_turn(self) -> None:
        """The worker's loop comes round. What is done before `end_turn` may leave until then."""
        self.slot.turns.begin()
        self.claims.follow()

    def end_turn(self) -> None:
        """The worker has sent what it had in its hands."""
        self.slot.turns.end()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One turn of the worker's loop, at once."""
        self.begin_turn()
        yield
        self.end_turn()

    def released(self, unix_s: int) -> Packets:
        """Trunk datagrams for packets that waited for their flow."""
        sent: Packets = []
        while datagrams := self.recovery.lay_out(unix_s):
            sent += unload(self.writer.outgoing, datagrams)
        return sent

    def down(self, datagrams: Packets, now_ms: int, unix_s: int) -> Packets:
        """Packets, each with its client's address, for one batch of trunk datagrams."""
        load(self.from_nodes, datagrams)
        count = self.downlink.unpack(len(datagrams), now_ms, unix_s)
        return unload(self.downlink.outgoing, count)

    def answered(self, now_ms: int, unix_s: int) -> Packets:
        """Trunk datagrams that answer claims."""
        sent: Packets = []
        while datagrams := self.answers.lay_out(now_ms, unix_s):
            sent += unload(self.answers.outgoing, datagrams)
        return sent

    def questions(self) -> list[bytes]:
        """The addresses that the supervisor is asked about, through the control channel."""
        self.recovery.ask(self._channel)
        asked: list[bytes] = []
        while True:
            try:
                received = control.receive(self._supervisor)
            except BlockingIOError:
                return asked
            if received:
                asked += read_questions(received[0]) or []

    def hear(self, owners: Mapping[bytes, FlowOwner | None], now_ms: int) -> None:
        """Take the supervisor's answer; it travels as the channel carries it."""
        message = owners_message(owners)
        self.recovery.hear({key: _as_json(value) for key, value in message.items()}, [], now_ms)

    def housekeep(self, now_ms: int) -> None:
        """What the worker's loop does every 50 ms."""
        self.recovery.housekeep(now_ms)
        expired = self.flows.expire(now_ms, self.bounds.flow_idle_ms, _SWEEP_SLOTS)
        self.counts[Counter.FLOWS_EXPIRED] += expired

    def count(self, counter: Counter) -> int:
        return int(self.counts[counter])

    def dropped_up(self) -> int:
        """Packets of clients that were dropped, whatever the reason."""
        return sum(int(self.counts[counter]) for counter in _UP_DROPS)

    def named(self) -> dict[str, int]:
        """All counters by name."""
        return named(self.counts)


def _as_json(owners: Mapping[str, FlowOwner | None]) -> dict[str, list[int] | None]:
    return {address: list(owner) if owner else None for address, owner in owners.items()}


# Lost after they were forwarded, or of the other direction: not in the way up's books.
_NOT_UP = {"DROP_UP_SEND_BUFFER_FULL", "DROP_UP_SEND_REFUSED"}
_UP_DROPS = [
    counter
    for counter in Counter
    if counter.name.startswith("DROP_")
    and not counter.name.startswith(("DROP_TRUNK", "DROP_DOWN"))
    and counter.name not in _NOT_UP
]
