"""One data-plane worker: a plain loop over epoll on three descriptors.

It starts with nothing but a control channel and waits, so that a spare can have done its imports
before it is needed; the first message makes it a worker and brings the public socket, the trunk
socket and the shared memory. From then on it moves packets until the channel closes, and follows
what else the channel says between two batches (`relay.shared.orders`). It never touches Redis, gRPC
or a log, and the clock twice a batch: that is the latency histogram.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time

from datagram.fresh import FreshQueue
from datagram.mmsg import ReceiveBatch, SendBatch
from relay.shared import control, memory
from relay.shared.assignment import Assignment
from relay.shared.counters import Counter
from relay.shared.memory import WorkerMemory
from relay.shared.orders import Orders, read_orders
from relay.shared.rates import Rates
from relay.shared.voice import VoiceWatch
from relay.worker import downlink, uplink
from relay.worker.admission import Admission
from relay.worker.fresh_checks import FreshChecks
from relay.worker.kernel_drops import KernelDrops
from relay.worker.limits import SourceLimits
from relay.worker.parking import Parking
from relay.worker.recovery import Recovery
from relay.worker.siblings import Siblings
from relay.worker.trunk_writer import TrunkWriter
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.trunk import SLOT_BYTES, Tagger

POLL_S = 0.05  # how late a heartbeat or an expiry slice can be
BATCHES_A_WAKE = 4  # of one direction before the other gets its turn
_NS_PER_MS = 1_000_000
SWEEP_ROTA_S = 10  # one round of the whole flow table takes this long


class Worker:
    """The loop and its sockets; the work is Uplink's and Downlink's."""

    def __init__(self, assignment: Assignment, fds: list[int], channel: socket.socket) -> None:
        self._public_fd, self._trunk_fd, memory_fd, nodes_fd, *sibling_fds = fds
        self._channel = channel
        self._memory = WorkerMemory(memory_fd, assignment.flow_capacity)
        self._counts = self._memory.counts
        self._flow_idle_ms = int(assignment.flow_idle_s * 1000)
        nodes = memory.shared_nodes(nodes_fd)
        tagger = Tagger(KeyRing.parse(assignment.trunk_keys))
        self._admission = Admission(KeyRing.parse(assignment.token_keys), assignment.cluster)
        self._limits = SourceLimits(Rates())  # the first orders bring the real ones
        self._voice = VoiceWatch(self._memory.telemetry.voice)
        self._kernel_drops = (
            KernelDrops(self._public_fd, self._counts, Counter.UP_QUEUE_OVERFLOW),
            KernelDrops(self._trunk_fd, self._counts, Counter.DOWN_QUEUE_OVERFLOW),
        )
        self._from_clients = ReceiveBatch(assignment.batch, uplink.slot_bytes(assignment.mtu))
        self._trunk_writer = TrunkWriter(
            self._from_clients, nodes, tagger, int.from_bytes(os.urandom(4)), assignment.mtu
        )
        self._recovery = Recovery(
            received=self._from_clients,
            flows=self._memory.flows,
            nodes=nodes,
            writer=self._trunk_writer,
            counts=self._counts,
            siblings=Siblings(nodes, self._flow_idle_ms),
            parking=Parking(
                packets=assignment.parking_packets, questions_per_s=assignment.questions_per_s
            ),
        )
        self._recovery.hear(assignment.siblings, sibling_fds, now_ms=0)
        self._uplink = uplink.Uplink(
            received=self._from_clients,
            flows=self._memory.flows,
            nodes=nodes,
            admission=self._admission,
            writer=self._trunk_writer,
            counts=self._counts,
            mtu=assignment.mtu,
            limits=self._limits,
            fresh=FreshChecks(memory.shared_check_log(nodes_fd)),
            recovery=self._recovery,
        )
        self._from_nodes = ReceiveBatch(assignment.batch, SLOT_BYTES)
        self._downlink = downlink.Downlink(
            received=self._from_nodes,
            nodes=nodes,
            tagger=tagger,
            replay=ReplayWindow(),
            counts=self._counts,
        )
        self._public = FreshQueue(self._public_fd, self._from_clients)
        self._trunk = FreshQueue(self._trunk_fd, self._from_nodes)
        self._sweep_slots = int(self._memory.flows.slot_count * POLL_S / SWEEP_ROTA_S) + 1
        self._next_sweep_s = 0.0

    def run(self) -> None:
        """Move packets until the supervisor closes the channel."""
        poll = select.epoll()
        for fd in (self._public_fd, self._trunk_fd, self._channel.fileno()):
            poll.register(fd, select.EPOLLIN)
        while True:
            ready = poll.poll(POLL_S)
            now_s = time.monotonic()
            self._housekeep(now_s)
            for fd, _ in ready:
                if fd == self._public_fd:
                    self._take_from_clients(now_s)
                elif fd == self._trunk_fd:
                    self._take_from_nodes(now_s)
                elif not self._listen():
                    return

    def _listen(self) -> bool:
        """Do what the supervisor says; False when it closed the channel or is gone."""
        try:
            received = control.receive(self._channel)
        except ConnectionError:
            return False
        if received is None:
            return False
        message, fds = received
        self._recovery.hear(message, fds, int(time.monotonic() * 1000))
        self._forward_released()
        orders = read_orders(message)
        if orders is not None:
            self._carry_out(orders)
        return True

    def _carry_out(self, orders: Orders) -> None:
        """Between two batches, so that no batch sees half of it."""
        tagger = Tagger(KeyRing.parse(orders.trunk_keys))
        self._trunk_writer.rotate(tagger)
        self._downlink.rotate(tagger)
        self._downlink.checks_source = orders.checks_trunk_source
        self._admission.rotate(KeyRing.parse(orders.token_keys))
        self._limits.change(orders.rates)
        self._voice.follow(orders.watches, int(time.monotonic() * 1000))
        self._memory.telemetry.carried_out(orders.number)

    def _take_from_clients(self, now_s: float) -> None:
        received, counts = self._from_clients, self._counts
        for _ in range(BATCHES_A_WAKE):
            count = self._public.receive(now_s)
            if not count:
                return
            began_ns = time.monotonic_ns()
            now_ms = began_ns // _NS_PER_MS
            datagrams = self._uplink.route(count, now_ms, int(time.time()))
            lost, refused = _send(self._trunk_writer.outgoing, self._trunk_fd, datagrams)
            counts[Counter.DROP_UP_SEND_BUFFER_FULL] += lost
            counts[Counter.DROP_UP_SEND_REFUSED] += refused
            self._memory.telemetry.up.add(time.monotonic_ns() - began_ns)
            if self._voice:
                self._voice.note(received, count, now_ms)
            self._recovery.ask(self._channel)
            self._forward_released()
            if count < received.capacity:
                return

    def _forward_released(self) -> None:
        """Send on packets that waited for their flow."""
        while datagrams := self._recovery.lay_out(int(time.time())):
            lost, refused = _send(self._trunk_writer.outgoing, self._trunk_fd, datagrams)
            self._counts[Counter.DROP_UP_SEND_BUFFER_FULL] += lost
            self._counts[Counter.DROP_UP_SEND_REFUSED] += refused

    def _take_from_nodes(self, now_s: float) -> None:
        received, counts = self._from_nodes, self._counts
        for _ in range(BATCHES_A_WAKE):
            count = self._trunk.receive(now_s)
            if not count:
                return
            began_ns = time.monotonic_ns()
            packets = self._downlink.unpack(count, int(time.time()))
            lost, refused = _send(self._downlink.outgoing, self._public_fd, packets)
            counts[Counter.DROP_DOWN_SEND_BUFFER_FULL] += lost
            counts[Counter.DROP_DOWN_SEND_REFUSED] += refused
            self._memory.telemetry.down.add(time.monotonic_ns() - began_ns)
            if count < received.capacity:
                return

    def _housekeep(self, now_s: float) -> None:
        if now_s < self._next_sweep_s:
            return
        self._next_sweep_s = now_s + POLL_S
        now_ms = int(now_s * 1000)
        self._memory.beat(now_ms)
        self._recovery.housekeep(now_ms)
        expired = self._memory.flows.expire(now_ms, self._flow_idle_ms, self._sweep_slots)
        self._counts[Counter.FLOWS_EXPIRED] += expired
        self._voice.expire(now_ms)
        for drops in self._kernel_drops:
            drops.read()
        self._counts[Counter.DROP_UP_STALE] += self._public.take_stale()
        self._counts[Counter.DROP_DOWN_STALE] += self._trunk.take_stale()


def _send(batch: SendBatch, fd: int, count: int) -> tuple[int, int]:
    """Send, and return how many were lost to a full buffer and how many were refused."""
    if not count:
        return 0, 0
    sent, refused = batch.send(fd, count)
    return count - sent - refused, refused


def await_assignment(channel: socket.socket) -> tuple[Assignment, list[int]] | None:
    """Wait to be needed; None when the supervisor went away first."""
    try:
        received = control.receive(channel)
    except ConnectionError:
        return None
    if received is None:
        return None
    message, fds = received
    return Assignment(**message), fds


def main() -> int:
    """Entry point of `python -m relay.worker FD`, which only the supervisor calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the supervisor, which ends us
    channel = socket.socket(fileno=int(sys.argv[1]))
    assigned = await_assignment(channel)
    if assigned is None:
        return 0
    assignment, fds = assigned
    os.sched_setaffinity(0, {assignment.cpu})
    worker = Worker(assignment, fds, channel)
    # Nothing made from here on is worth a collection pause.
    gc.collect()
    gc.freeze()
    gc.disable()
    worker.run()
    return 0
