"""One data-plane worker: a plain loop over epoll on three descriptors.

It starts with nothing but a control channel and waits, so that a spare can have done its imports
before it is needed; the first message makes it a worker and brings the public socket, the trunk
socket and the shared memory. From then on it moves packets until the channel closes, and follows
what else the channel says between two batches (`relay.shared.orders`). It never touches Redis, gRPC
or a log, and the clock twice a batch: that is the latency histogram.

Whatever raises costs what it was done for, and the loop goes on (`relay.worker.faults`).
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from relay.shared import control
from relay.shared.assignment import Assignment
from relay.shared.counters import Counter
from relay.shared.orders import read_orders
from relay.worker.kernel_drops import KernelDrops
from relay.worker.parts import Parts

POLL_S = 0.05  # how late a heartbeat or an expiry slice can be
ANSWER_POLL_S = 0.001  # the same for an answer that waits for another worker's turn to end
SWEEP_ROTA_S = 10  # one round of the whole flow table takes this long


class Worker:
    """The loop and its upkeep; the work is that of its parts."""

    def __init__(self, assignment: Assignment, fds: list[int], channel: socket.socket) -> None:
        self._channel = channel
        self._parts = parts = Parts(assignment, fds)
        self._flow_idle_ms = int(assignment.flow_idle_s * 1000)
        self._kernel_drops = (
            KernelDrops(parts.public_fd, parts.counts, Counter.UP_QUEUE_OVERFLOW),
            KernelDrops(parts.trunk_fd, parts.counts, Counter.DOWN_QUEUE_OVERFLOW),
        )
        self._sweep_slots = int(parts.memory.flows.slot_count * POLL_S / SWEEP_ROTA_S) + 1
        self._next_upkeep_s = 0.0
        self._wanted = True

    def run(self) -> None:
        """Move packets until the supervisor closes the channel."""
        poll = select.epoll()
        parts = self._parts
        for fd in (parts.public_fd, parts.trunk_fd, self._channel.fileno()):
            poll.register(fd, select.EPOLLIN)
        while self._wanted:
            ready = poll.poll(ANSWER_POLL_S if parts.answers else POLL_S)
            now_s = time.monotonic()
            parts.memory.turns.begin()
            self._survive(parts.claims.follow)
            if now_s >= self._next_upkeep_s:
                self._next_upkeep_s = now_s + POLL_S
                parts.memory.beat(int(now_s * 1000))
                self._survive(self._upkeep, now_s)
            for fd, _ in ready:
                self._survive(self._serve, fd, now_s)
            parts.memory.turns.end()
            if parts.answers:
                self._survive(parts.answers.take, int(time.monotonic() * 1000))

    def _survive(self, step: Callable[..., None], *arguments: float) -> None:
        try:
            step(*arguments)
        except Exception as error:
            self._parts.faults.note(Counter.WORKER_FAULTS, error)

    def _serve(self, fd: int, now_s: float) -> None:
        parts = self._parts
        if fd == parts.public_fd:
            parts.up.take(now_s, parts.voice, self._channel)
        elif fd == parts.trunk_fd:
            parts.down.take(now_s)
        else:
            self._listen()

    def _listen(self) -> None:
        """Do what the supervisor says; end when it closed the channel or is gone."""
        try:
            received = control.receive(self._channel)
        except ConnectionError:
            received = None
        if received is None:
            self._wanted = False
            return
        message, fds = received
        self._parts.recovery.hear(message, fds, int(time.monotonic() * 1000))
        self._parts.up.forward_released()
        orders = read_orders(message)
        if orders is not None:
            self._parts.carry_out(orders)

    def _upkeep(self, now_s: float) -> None:
        parts, now_ms = self._parts, int(now_s * 1000)
        parts.faults.tell(self._channel, now_s)
        parts.recovery.housekeep(now_ms)
        expired = parts.memory.flows.expire(now_ms, self._flow_idle_ms, self._sweep_slots)
        parts.counts[Counter.FLOWS_EXPIRED] += expired
        parts.voice.expire(now_ms)
        for drops in self._kernel_drops:
            drops.read()
        parts.counts[Counter.DROP_UP_STALE] += parts.up.queue.take_stale()
        parts.counts[Counter.DROP_DOWN_STALE] += parts.down.queue.take_stale()


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
