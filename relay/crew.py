"""The workers of one relay: started, replaced when they die or hang, ended together.

Every worker process is started as a spare and made a worker by one message (`relay.worker`), and
one spare always waits. So when a worker dies its successor has Python and numpy loaded already,
inherits the same sockets with what the kernel queued meanwhile, and finds the flows in shared
memory: callers lose what the dead worker had in its hands.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import structlog

from relay import control, memory, nodes
from relay.memory import WorkerMemory
from relay.nodes import NodeTable
from relay.settings import RelaySettings
from relay.worker import Assignment

HUNG_AFTER_MS = 2000  # a loop that has not come round for this long (it does so every 50 ms)
CHECK_INTERVAL_S = 0.25
STOP_TIMEOUT_S = 2.0
_SHORT_LIFE_S = 1.0
_MAX_BACKOFF_S = 5.0

_log = structlog.get_logger()


class Process:
    """A spare, later a worker: the process and our end of its control channel."""

    def __init__(self) -> None:
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

    def dismiss(self) -> None:
        """Let it end by itself: it reads the end of the channel."""
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
    short_lives: int = 0
    assigned_s: float = field(default_factory=time.monotonic)


class Crew:
    """All posts of one relay, filled. `nodes` is the directory that its workers read."""

    def __init__(
        self, settings: RelaySettings, public: list[socket.socket], trunk: list[socket.socket]
    ) -> None:
        self._settings = settings
        self._nodes_fd = memory.create("trunkline-nodes", nodes.SIZE_BYTES)
        self.nodes: NodeTable = memory.shared_nodes(self._nodes_fd)
        cpus = sorted(os.sched_getaffinity(0))
        self.posts = [
            self._post(number, cpus[number % len(cpus)], sockets)
            for number, sockets in enumerate(zip(public, trunk, strict=True))
        ]
        self._spare: Process | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._stopping = False

    def _post(self, number: int, cpu: int, sockets: tuple[socket.socket, socket.socket]) -> Post:
        capacity = self._settings.relay_flow_capacity
        fd = memory.create(f"trunkline-worker-{number}", WorkerMemory.size_bytes(capacity))
        return Post(number, cpu, *sockets, fd, WorkerMemory(fd, capacity))

    def start(self) -> None:
        """Fill every post and train a spare."""
        for post in self.posts:
            self._fill(post)
        self._spare = Process()

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
                hung = post.memory.silent_ms(int(now_s * 1000)) > HUNG_AFTER_MS
                if post.process and settled and hung:
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
        post.process, post.assigned_s = process, time.monotonic()
        asyncio.get_running_loop().add_reader(process.pid_fd, self._on_exit, post, process)
        fds = [post.public.fileno(), post.trunk.fileno(), post.memory_fd, self._nodes_fd]
        try:
            process.assign(self._assignment(post), fds)
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
            mtu=settings.relay_trunk_mtu,
            cluster=settings.cluster,
            token_keys=settings.token_keys.export(),
            trunk_keys=settings.trunk_keys.export(),
        )

    def _on_exit(self, post: Post, process: Process) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(process.pid_fd)
        post.process = None
        status = process.reap(0)
        if self._stopping:
            return
        post.restarts += 1
        lived_s = time.monotonic() - post.assigned_s
        post.short_lives = post.short_lives + 1 if lived_s < _SHORT_LIFE_S else 0
        delay_s = min(0.1 * 2**post.short_lives - 0.1, _MAX_BACKOFF_S)
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


def _now_ms() -> int:
    return int(time.monotonic() * 1000)


def _status(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)
