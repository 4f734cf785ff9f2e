"""The workers of one relay: they are started, replaced when they fail, and ended together.

Every worker process is started as a spare and made a worker by one message (`relay.worker`), and
one spare always waits. So when a worker dies its successor has Python and numpy loaded already,
inherits the same sockets with what the kernel queued meanwhile, and finds the flows in shared
memory: callers lose what the dead worker had in its hands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from fleet.liveness import HUNG_AFTER_MS, Pulse
from relay.settings import RelaySettings
from relay.shared import control, memory
from relay.shared.assignment import Assignment
from relay.shared.fault_message import read_fault
from relay.shared.memory import Table, WorkerMemory
from relay.shared.nodes import FlowOwner, NodeTable
from relay.shared.orders import Orders
from relay.shared.recovery_messages import owners_message, read_questions, siblings_message
from relay.supervisor.faults import Faults
from relay.supervisor.post import Post
from relay.supervisor.process import Process
from relay.supervisor.spare import Spare
from relay.supervisor.store_counts import StoreCounts
from relay.supervisor.suspicion_counts import SuspicionCounts
from relay.supervisor.worker_settings import first_orders
from wire.keys import KeyRing

CHECK_INTERVAL_S = 0.25
STOP_TIMEOUT_S = 2.0
_MAX_SIBLINGS = control.MAX_FDS - 4  # beside a worker's own descriptors in one message

_log = structlog.get_logger(__name__)


class Crew:
    """All posts of one relay, filled. `nodes` is the directory that its workers read.

    `ask` is called with a post and addresses that its worker does not know; `answer` replies.
    `predecessors` are tables of a relay that was here before, which the workers read too; they are
    closed when nothing in them can be live.
    """

    def __init__(
        self,
        settings: RelaySettings,
        public: list[socket.socket],
        trunk: list[socket.socket],
        predecessors: Sequence[Table] = (),
    ) -> None:
        until_ms = _now_ms() + settings.relay_flow_idle_s * 1000
        self._strange_tables = [table._replace(until_ms=until_ms) for table in predecessors]
        self.ask: Callable[[Post, list[bytes]], None] = _nothing
        self.store_counts = StoreCounts()
        self.suspicion_counts = SuspicionCounts()
        self._settings = settings
        self.orders = first_orders(settings, _now_ms())
        self._token_text, self._token_ring = self.orders.token_keys, settings.token_keys
        self.nodes_fd = memory.create("trunkline-nodes", memory.SHARED_BYTES)
        self.nodes: NodeTable = memory.shared_nodes(self.nodes_fd)
        memory.shared_check_log(self.nodes_fd)  # gives it the key that all workers use
        cpus = sorted(os.sched_getaffinity(0))
        self.posts = [
            self._post(number, cpus[number % len(cpus)], sockets)
            for number, sockets in enumerate(zip(public, trunk, strict=True))
        ]
        self.faults = Faults()
        self._spare = Spare(self.faults)
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopping = False

    def counts(self) -> dict[str, int]:
        """What the supervisor itself counts, by name."""
        return self.store_counts.named() | self.suspicion_counts.named()

    def token_keys(self) -> KeyRing:
        """The ring of now: what is in Redis is sealed with it."""
        if self._token_text != self.orders.token_keys:
            self._token_text = self.orders.token_keys
            self._token_ring = KeyRing.parse(self._token_text)
        return self._token_ring

    def _post(self, number: int, cpu: int, sockets: tuple[socket.socket, socket.socket]) -> Post:
        capacity = self._settings.relay_flow_capacity
        fd = memory.create(f"trunkline-worker-{number}", WorkerMemory.size_bytes(capacity))
        return Post(number, cpu, *sockets, fd, WorkerMemory(fd, capacity))

    def start(self) -> None:
        """Fill every post and train a spare."""
        for post in self.posts:
            self._fill(post)
        self._spare.train()
        self._later(self._settings.relay_flow_idle_s, self._close_strange_tables)

    def answer(self, post: Post, owners: Mapping[bytes, FlowOwner | None]) -> None:
        """Tell a post's worker who owns the addresses it asked about."""
        if post.process:
            with contextlib.suppress(OSError):  # gone, or too busy: what it parked expires
                post.process.tell(owners_message(owners))

    def read_too(self, tables: Sequence[Table]) -> None:
        """Have every worker of now read these tables as well."""
        for post in self.posts:
            if post.process:
                with contextlib.suppress(OSError):
                    post.process.tell(siblings_message(tables), [table.fd for table in tables])

    def _close_strange_tables(self) -> None:
        for table in self._strange_tables:
            os.close(table.fd)
        self._strange_tables.clear()

    def _tables_beside(self, post: Post) -> list[Table]:
        beside = [other.table for other in self.posts if other is not post]
        return [*self._strange_tables, *beside][:_MAX_SIBLINGS]

    def _sibling_fds(self, post: Post) -> list[int]:
        return [table.fd for table in self._tables_beside(post)]

    def _hear(self, post: Post, message: control.Message) -> None:
        asked = read_questions(message)
        if asked:
            self.ask(post, asked)
        if fault := read_fault(message):
            _log.error("worker_fault", worker=post.number, fault=fault)

    def up(self) -> bool:
        """Whether every worker's loop is coming round."""
        now_ms = _now_ms()
        return all(
            post.process is not None and 0 <= post.memory.silent_ms(now_ms) < HUNG_AFTER_MS
            for post in self.posts
        )

    async def watch(self) -> None:
        """Kill workers that hang, so that they are replaced; runs until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            now_s = time.monotonic()
            now_ms = int(now_s * 1000)
            for post in self.posts:
                if post.process and post.is_settled(now_s) and post.hangs(now_ms):
                    _log.error("worker_hung", worker=post.number, pid=post.process.pid)
                    post.process.kill()
            self._spare.look(now_ms)
            if all(post.process and post.is_settled(now_s) for post in self.posts):
                self._spare.train()  # the one there was has ended, or could not be started

    async def stop(self) -> None:
        """End all workers and the spare; returns when none is left."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        for timer in self._timers:
            timer.cancel()
        processes = [post.process for post in self.posts if post.process]
        for process in processes:
            loop.remove_reader(process.pid_fd)
        if spare := self._spare.close():
            processes.append(spare)
        for process in processes:
            process.dismiss()
        for process in processes:
            await process.ended(STOP_TIMEOUT_S)
            process.reap()
        for post in self.posts:
            post.process = None

    def _fill(self, post: Post) -> None:
        try:
            process = self._spare.take()
        except Exception as error:  # no descriptor, no memory, no process left: there may be soon
            self.faults.note("worker_start", error)
            self._later(post.backoff.after(0.0), partial(self._replace, post))
            return
        post.process, post.assigned_s, post.pulse = process, time.monotonic(), Pulse()
        asyncio.get_running_loop().add_reader(process.pid_fd, self._on_exit, post, process)
        try:
            self._assign(post, process)
        except Exception as error:  # it died while it was a spare: its exit refills the post
            self.faults.note("worker_assign", error)
            process.kill()

    def _assign(self, post: Post, process: Process) -> None:
        fds = [post.public.fileno(), post.trunk.fileno(), post.memory_fd, self.nodes_fd]
        process.assign(self._assignment(post), [*fds, *self._sibling_fds(post)])
        process.order(self._orders_for(post))
        process.listen(partial(self._hear, post), self.faults.at("worker_message"))

    def _assignment(self, post: Post) -> Assignment:
        settings = self._settings
        return Assignment(
            worker=post.number,
            cpu=post.cpu,
            flow_capacity=settings.relay_flow_capacity,
            flow_idle_s=settings.relay_flow_idle_s,
            batch=settings.relay_batch_packets,
            mtu=settings.trunk_mtu,
            cluster=settings.cluster,
            parking_packets=settings.relay_parking_packets,
            questions_per_s=settings.relay_questions_per_s,
            token_keys=self.orders.token_keys,
            trunk_keys=self.orders.trunk_keys,
            siblings=siblings_message(self._tables_beside(post)),
        )

    def give(self, orders: Orders) -> None:
        """Make these the orders of every worker there is, and of every one to come."""
        self.orders = orders
        for post in self.posts:
            if post.process is not None:
                with contextlib.suppress(OSError):  # its exit refills the post, with these orders
                    post.process.order(self._orders_for(post))

    def obeyed(self, number: int) -> bool:
        """Whether every worker has carried out the orders of this number."""
        return all(post.memory.telemetry.order >= number for post in self.posts)

    def _orders_for(self, post: Post) -> Orders:
        return replace(self.orders, watches=post.watches)

    def _on_exit(self, post: Post, process: Process) -> None:
        asyncio.get_running_loop().remove_reader(process.pid_fd)
        post.process = None
        status = process.reap()
        if self._stopping:
            return
        post.restarts += 1
        delay_s = post.backoff.after(time.monotonic() - post.assigned_s)
        _log.error("worker_died", worker=post.number, status=_status(status), delay_s=delay_s)
        if delay_s:
            self._later(delay_s, partial(self._replace, post))
        else:
            self._replace(post)

    def _replace(self, post: Post) -> None:
        self._fill(post)
        # After the successor has its packets, and not while the crew is going home.
        self._later(CHECK_INTERVAL_S, self._spare.train)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            if not self._stopping:
                action()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)


def _nothing(*_: object) -> None:
    pass


def _now_ms() -> int:
    return int(time.monotonic() * 1000)


def _status(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)
