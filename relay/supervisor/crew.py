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
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import structlog

from fleet.backoff import Backoff, Pace
from relay.settings import RelaySettings
from relay.shared import control, memory
from relay.shared.assignment import Assignment
from relay.shared.memory import Table, WorkerMemory
from relay.shared.nodes import FlowOwner, NodeTable
from relay.shared.orders import Orders
from relay.shared.recovery_messages import owners_message, read_questions, siblings_message
from relay.shared.voice import WatchOrder
from relay.supervisor.liveness import HUNG_AFTER_MS, Pulse, read_usage
from relay.supervisor.store_counts import StoreCounts
from relay.supervisor.worker_settings import first_orders
from wire.keys import KeyRing

CHECK_INTERVAL_S = 0.25
STOP_TIMEOUT_S = 2.0
STEADY_S = 1.0
"""A worker that lived this long is replaced at once: the spare is running."""
RESTART_PACE = Pace(first_s=0.1, longest_s=5.0, spread=False)  # of one slot; others go on
_MAX_SIBLINGS = control.MAX_FDS - 4  # beside a worker's own descriptors in one message

_log = structlog.get_logger(__name__)


class Process:
    """A spare, later a worker: the process and our end of its control channel."""

    def __init__(self) -> None:
        self._stop_listening: Callable[[], None] = _nothing
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "relay.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.pid = self._popen.pid
        self.pid_fd = os.pidfd_open(self.pid)
        self.started_s = time.monotonic()

    def assign(self, assignment: Assignment, fds: list[int]) -> None:
        """Make it a worker; a process that is still starting reads this when it is ready."""
        control.send(self._channel, asdict(assignment), fds)

    def order(self, orders: Orders) -> None:
        """Tell it what is wanted; raises OSError when it is gone."""
        control.send(self._channel, orders.message())

    def tell(self, message: control.Message, fds: Sequence[int] = ()) -> None:
        """Tell it something else; raises OSError when it is gone or does not read."""
        control.send(self._channel, message, fds)

    def listen(self, hear: Callable[[control.Message], None]) -> None:
        """Have `hear` called with every message of the worker, until `dismiss`."""
        loop = asyncio.get_running_loop()
        fd = self._channel.fileno()

        def stop() -> None:
            # Once only: the number may be another descriptor's afterwards.
            self._stop_listening = _nothing
            loop.remove_reader(fd)

        def on_readable() -> None:
            try:
                received = control.receive(self._channel)
            except OSError:
                received = None
            if received is None:
                stop()  # it is gone: its exit is what counts
            else:
                hear(received[0])

        loop.add_reader(fd, on_readable)
        self._stop_listening = stop

    def dismiss(self) -> None:
        """Let it end by itself: it reads the end of the channel."""
        self._stop_listening()
        self._channel.close()

    def kill(self) -> None:
        """End it now."""
        self._popen.kill()

    def reap(self, timeout_s: float) -> int:
        """Exit status; a process that outlives the time-out is killed."""
        self.dismiss()
        try:
            status = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self._popen.wait()
        os.close(self.pid_fd)
        return status


@dataclass
class Post:
    """One worker slot: what stays when its worker is replaced."""

    number: int
    cpu: int
    public: socket.socket
    trunk: socket.socket
    memory_fd: int
    memory: WorkerMemory
    process: Process | None = None
    restarts: int = 0
    backoff: Backoff = field(default_factory=lambda: Backoff(RESTART_PACE, STEADY_S))
    assigned_s: float = field(default_factory=time.monotonic)
    watches: tuple[WatchOrder, ...] = ()  # flows of this post that somebody asks about
    pulse: Pulse = field(default_factory=Pulse)

    def hangs(self, now_ms: int) -> bool:
        """Whether its worker had time and did nothing with it; asked at every look."""
        usage = read_usage(self.process.pid) if self.process else None
        return usage is not None and self.pulse.hangs(self.memory.beat_ms, usage, now_ms)

    @property
    def table(self) -> Table:
        """What others need to read this post's flows."""
        return Table(self.memory_fd, self.memory.flows.capacity)


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
        self._spare: Process | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopping = False

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
        self._spare = Process()
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
            for post in self.posts:
                settled = (now_s - post.assigned_s) * 1000 > 2 * HUNG_AFTER_MS
                if post.process and settled and post.hangs(int(now_s * 1000)):
                    _log.error("worker_hung", worker=post.number, pid=post.process.pid)
                    post.process.kill()

    async def stop(self) -> None:
        """End all workers and the spare; returns when none is left."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        for timer in self._timers:
            timer.cancel()
        processes = [post.process for post in self.posts if post.process]
        if self._spare:
            processes.append(self._spare)
        for process in processes:
            loop.remove_reader(process.pid_fd)
            process.dismiss()
        for process in processes:
            await asyncio.to_thread(process.reap, STOP_TIMEOUT_S)
        for post in self.posts:
            post.process = None

    def _fill(self, post: Post) -> None:
        process, self._spare = self._spare or Process(), None
        post.process, post.assigned_s, post.pulse = process, time.monotonic(), Pulse()
        asyncio.get_running_loop().add_reader(process.pid_fd, self._on_exit, post, process)
        fds = [post.public.fileno(), post.trunk.fileno(), post.memory_fd, self.nodes_fd]
        try:
            process.assign(self._assignment(post), [*fds, *self._sibling_fds(post)])
            process.order(self._orders_for(post))
            process.listen(partial(self._hear, post))
        except OSError:
            process.kill()  # it died while it was a spare: its exit refills the post

    def _assignment(self, post: Post) -> Assignment:
        settings = self._settings
        return Assignment(
            worker=post.number,
            cpu=post.cpu,
            flow_capacity=settings.relay_flow_capacity,
            flow_idle_s=settings.relay_flow_idle_s,
            batch=settings.relay_batch,
            mtu=settings.trunk_mtu,
            cluster=settings.cluster,
            parking_packets=settings.relay_parking_packets,
            questions_per_s=settings.relay_questions,
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
        loop = asyncio.get_running_loop()
        loop.remove_reader(process.pid_fd)
        post.process = None
        status = process.reap(0)
        if self._stopping:
            return
        post.restarts += 1
        delay_s = post.backoff.after(time.monotonic() - post.assigned_s)
        _log.error("worker_died", worker=post.number, status=_status(status), delay_s=delay_s)
        if delay_s:
            self._later(delay_s, lambda: self._replace(post))
        else:
            self._replace(post)

    def _replace(self, post: Post) -> None:
        self._fill(post)
        # After the successor has its packets, and not while the crew is going home.
        self._later(CHECK_INTERVAL_S, self._train_spare)

    def _train_spare(self) -> None:
        if self._spare is None:
            self._spare = Process()

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
