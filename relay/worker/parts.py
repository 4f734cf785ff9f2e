"""A worker's parts, put together from what it was assigned."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from datagram.mmsg import ReceiveBatch
from relay.shared import memory
from relay.shared.assignment import Assignment
from relay.shared.check_log import CheckLog
from relay.shared.counters import Counter
from relay.shared.memory import WorkerMemory
from relay.shared.nodes import NodeTable
from relay.shared.orders import Orders
from relay.shared.rates import Rates
from relay.shared.voice import VoiceWatch
from relay.worker.admission import Admission
from relay.worker.answers import Answers
from relay.worker.claims import Claims
from relay.worker.control_frames import ControlFrames
from relay.worker.downlink import Downlink
from relay.worker.faults import Faults
from relay.worker.fresh_checks import FreshChecks
from relay.worker.limits import SourceLimits
from relay.worker.parking import Parking
from relay.worker.paths import AnswerPath, DownPath, UpPath
from relay.worker.recovery import Recovery
from relay.worker.siblings import Siblings
from relay.worker.trunk_writer import TrunkWriter
from relay.worker.uplink import Uplink, slot_bytes
from wire.keys import KeyRing
from wire.replay import ReplayWindow
from wire.trunk import SLOT_BYTES, Tagger


@dataclass(frozen=True)
class _Shared:
    """What a worker maps, and the descriptors of its sockets."""

    public_fd: int
    trunk_fd: int
    own: WorkerMemory
    nodes: NodeTable
    checks: CheckLog
    faults: Faults


class Parts:
    """Cores and paths of one worker, and what they are told while they run.

    `fds` are the public socket, the trunk socket, the worker's memory, the memory that all workers
    share, and that of the siblings. Raises OSError and ValueError for what cannot be mapped.
    """

    def __init__(self, assignment: Assignment, fds: list[int]) -> None:
        self.public_fd, self.trunk_fd, memory_fd, nodes_fd, *sibling_fds = fds
        self.memory = WorkerMemory(memory_fd, assignment.flow_capacity)
        self.counts = self.memory.counts
        self.faults = Faults(self.counts)
        shared = _Shared(
            self.public_fd,
            self.trunk_fd,
            self.memory,
            memory.shared_nodes(nodes_fd),
            memory.shared_check_log(nodes_fd),
            self.faults,
        )
        self.voice = VoiceWatch(self.memory.telemetry.voice)
        self._limits = SourceLimits(Rates())  # the first orders bring the real ones
        self._admission = Admission(KeyRing.parse(assignment.token_keys), assignment.cluster)
        tagger = Tagger(KeyRing.parse(assignment.trunk_keys))
        received = ReceiveBatch(assignment.batch, slot_bytes(assignment.mtu))
        sender = int.from_bytes(os.urandom(4))
        self._writer = TrunkWriter(received, shared.nodes, tagger, sender, assignment.mtu)
        siblings = Siblings(shared.nodes, int(assignment.flow_idle_s * 1000))
        self.claims = Claims(
            self.memory.claims,
            siblings,
            self.memory.flows,
            shared.nodes,
            self._admission,
            self.counts,
        )
        answers = Answers(siblings, self._writer, self.counts)
        self.answers = AnswerPath(self.trunk_fd, answers, self.counts)
        self.recovery = self._recovery(assignment, shared, received, siblings)
        self._hear_of_siblings(assignment, sibling_fds)
        self.up = self._up_path(assignment, shared, received)
        control = ControlFrames(self.claims, answers, self.counts)
        self._downlink, self.down = _down_path(assignment, shared, tagger, control)

    def _up_path(self, assignment: Assignment, shared: _Shared, received: ReceiveBatch) -> UpPath:
        uplink = Uplink(
            received=received,
            flows=shared.own.flows,
            nodes=shared.nodes,
            admission=self._admission,
            writer=self._writer,
            counts=self.counts,
            mtu=assignment.mtu,
            limits=self._limits,
            fresh=FreshChecks(shared.checks),
            recovery=self.recovery,
            faults=shared.faults,
            claims=self.claims,
        )
        return UpPath(
            self.public_fd,
            self.trunk_fd,
            received,
            uplink,
            self._writer,
            self.recovery,
            self.counts,
            shared.own.telemetry.up,
        )

    def _recovery(
        self,
        assignment: Assignment,
        shared: _Shared,
        received: ReceiveBatch,
        siblings: Siblings,
    ) -> Recovery:
        return Recovery(
            received=received,
            flows=shared.own.flows,
            nodes=shared.nodes,
            writer=self._writer,
            counts=self.counts,
            siblings=siblings,
            parking=Parking(
                packets=assignment.parking_packets, questions_per_s=assignment.questions_per_s
            ),
            claims=self.claims,
        )

    def _hear_of_siblings(self, assignment: Assignment, fds: list[int]) -> None:
        # They may be those of a relay that was here before: without them flows come back by STUN.
        try:
            self.recovery.hear(assignment.siblings, fds, now_ms=0)
        except Exception as error:
            self.faults.note(Counter.WORKER_FAULTS, error)

    def carry_out(self, orders: Orders) -> None:
        """Do as ordered. Between two batches, so that no batch sees half of it."""
        tagger = Tagger(KeyRing.parse(orders.trunk_keys))
        self._writer.rotate(tagger)
        self._downlink.rotate(tagger)
        self._downlink.checks_source = orders.checks_trunk_source
        self._admission.rotate(KeyRing.parse(orders.token_keys))
        self._limits.change(orders.rates)
        self.voice.follow(orders.watches, int(time.monotonic() * 1000))
        self.memory.telemetry.carried_out(orders.number)


def _down_path(
    assignment: Assignment, shared: _Shared, tagger: Tagger, control: ControlFrames
) -> tuple[Downlink, DownPath]:
    received = ReceiveBatch(assignment.batch, SLOT_BYTES)
    counts = shared.own.counts
    downlink = Downlink(
        received=received,
        nodes=shared.nodes,
        tagger=tagger,
        replay=ReplayWindow(),
        counts=counts,
        faults=shared.faults,
        control=control,
    )
    path = DownPath(
        shared.trunk_fd, shared.public_fd, received, downlink, counts, shared.own.telemetry.down
    )
    return downlink, path
