"""A caller, a relay, a transceiver and a backend in one process, to see who calls whom.

Sockets, Redis and gRPC are real. The relay's worker runs its loop in a thread instead of a process,
and everything else runs on the event loop of the test. So one profile function sees every call.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import grpc.aio
from aiohttp import ClientSession
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.liveness import Usage
from loadtest.callers.caller import Caller
from loadtest.callers.calling import connected
from loadtest.callers.dtls import Identity
from loadtest.signaling import hang_up, post_offer
from loadtest.target import Target
from relay import __main__ as relay_main
from relay.settings import RelaySettings
from relay.supervisor import process, spare
from relay.worker.loop import Worker, await_assignment
from tests.backends.kit import serving, soon
from tests.conftest import free_port
from transceiver import service
from transceiver.settings import TransceiverSettings
from trunkline.backend import Audio, Call

ROOT = Path(__file__).parents[2]
PREFIX = f"{ROOT}/"
WALKED = ("relay", "transceiver", "library", "backends")
KEY = "key-one"

Step = tuple[str, str]
"""A file from the root, and the name of a function in it with that of its class."""


class ThreadedWorker(process.Process):
    """A worker whose loop runs in a thread of this process."""

    def __init__(self) -> None:
        self._stop_listening = lambda: None
        self._channel, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end, self._at_end = socket.socketpair()
        self.pid, self.pid_fd = 0, self._end.fileno()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        assigned = await_assignment(self._theirs)
        if assigned is None:
            return
        assignment, fds = assigned
        worker = Worker(assignment, fds, self._theirs)
        sys.setprofile(_Watch.note)
        worker.run()
        # What the end of a process would close.
        for drops in worker._kernel_drops:
            drops.close()
        for fd in fds:
            os.close(fd)

    def kill(self) -> None:
        """Close the channel, at which the loop ends."""
        self.dismiss()

    def usage(self) -> Usage:
        """A thread has no account of its own: it waits for a core, so it does not hang."""
        return Usage(0, runnable=True)

    async def ended(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        await asyncio.to_thread(self._thread.join, timeout_s)

    def reap(self) -> int:
        """Wait for the end of the thread, and leave nothing of it."""
        self.dismiss()
        self._thread.join()
        for end in (self._theirs, self._end, self._at_end):
            end.close()
        return 0


class Trace:
    """The functions of ours that were called, in the order of their first call."""

    def __init__(self) -> None:
        self.steps: dict[Step, None] = {}

    def note(self, frame: FrameType, event: str, _arg: object) -> None:
        """A profile function."""
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PREFIX):
            name = path.removeprefix(PREFIX)
            if name.startswith(WALKED):
                self.steps.setdefault((name, frame.f_code.co_qualname), None)


class _Watch:
    """What is traced now: a thread that has begun cannot be given another profile function."""

    trace: Trace | None = None

    @classmethod
    def note(cls, frame: FrameType, event: str, arg: object) -> None:
        if cls.trace is not None:
            cls.trace.note(frame, event, arg)


@contextmanager
def traced() -> Iterator[Trace]:
    """Inside, the calls of the event loop and of workers are noted."""
    _Watch.trace = trace = Trace()
    sys.setprofile(_Watch.note)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        _Watch.trace = None


class OneCall:
    """The backend: it hears, and speaks when the test says so."""

    def __init__(self) -> None:
        self.call: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        self.heard: asyncio.Queue[Audio] = asyncio.Queue()

    async def handle(self, call: Call) -> None:
        self.call.set_result(call)
        async for event in call.events():
            if isinstance(event, Audio):
                self.heard.put_nowait(event)


class SteppedCaller:
    """A caller that dials, connects, and then sends and hears packet by packet."""

    def __init__(self, session: ClientSession, target: Target) -> None:
        self._session, self._target = session, target
        self._heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._caller = Caller(Identity.make())
        self._line = AsyncExitStack()

    async def dial(self) -> None:
        """Send the offer and return when the answer is there. Raises CallFailedError."""
        self._answer = await post_offer(self._session, self._target, self._caller.offer)

    async def connect(self) -> None:
        """Return when sound can be sent. Raises CallFailedError."""
        line = connected(
            self._caller, self._answer, lambda packet, _: self._heard.put_nowait(packet)
        )
        self._connection = await self._line.enter_async_context(line)

    async def hang_up(self) -> None:
        """End the call."""
        await self._line.aclose()
        await hang_up(self._session, self._target, self._answer)

    def say(self) -> None:
        """Send the next packet."""
        self._connection.say(b"\xf8sound")

    async def hear(self) -> bytes:
        """The next packet of sound, still protected."""
        return await self._heard.get()


@contextmanager
def _closed_at_the_end() -> Iterator[None]:
    """A relay's sockets live as long as its process; this one goes on."""
    opened: list[socket.socket] = []
    really = relay_main._open

    def open_and_note(settings: RelaySettings) -> tuple[list[socket.socket], list[socket.socket]]:
        public, trunk = really(settings)
        opened.extend([*public, *trunk])
        return public, trunk

    with mock.patch.object(relay_main, "_open", open_and_note):
        yield
    for one in opened:
        one.close()


@asynccontextmanager
async def whole_path(redis_url: str) -> AsyncIterator[tuple[Target, OneCall]]:
    """Everything but a caller, ready for a call."""
    common: dict[str, Any] = {
        "cluster": 78,
        "token_keys": "1:" + "11" * 32,
        "trunk_keys": "1:" + "22" * 32,
        "redis_url": redis_url,
    }
    public = free_port(socket.SOCK_DGRAM)
    backend = OneCall()
    async with serving(backend.handle) as server:
        relay = RelaySettings(
            **common,
            relay_host="127.0.0.1",
            relay_port=public,
            relay_workers=1,
            relay_admin=f"127.0.0.1:{free_port()}",
            relay_metrics=f"127.0.0.1:{free_port()}",
        )
        transceiver = TransceiverSettings(
            **common,
            transceiver_relays=f"127.0.0.1:{public}",
            transceiver_api_keys=KEY,
            transceiver_http=f"127.0.0.1:{free_port()}",
            transceiver_admin=f"127.0.0.1:{free_port()}",
            transceiver_backend=f"127.0.0.1:{server.port}",
        )
        stop = asyncio.Event()
        with mock.patch.object(spare, "Process", ThreadedWorker), _closed_at_the_end():
            processes = [
                asyncio.create_task(service.run(transceiver, stop)),
                asyncio.create_task(relay_main.run(relay, stop)),
            ]
            try:
                for admin in (transceiver.transceiver_admin, relay.relay_admin):
                    await soon(_serving(str(admin), processes))
                yield Target(f"http://{transceiver.transceiver_http}", KEY), backend
            finally:
                stop.set()
                await asyncio.gather(*processes)


async def _serving(admin: str, processes: list[asyncio.Task[None]]) -> None:
    """Return when the health service says SERVING; raise what ended a process instead."""
    asking = asyncio.ensure_future(_says_serving(admin))
    done, _ = await asyncio.wait([asking, *processes], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _says_serving(admin: str) -> None:
    async with grpc.aio.insecure_channel(admin) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
