"""Stand-ins for either end of the model link, and the ends themselves on free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from transceiver.link.call_handle import CallHandle
from transceiver.link.model_link import ModelLink
from trunkline.backend import Backend, BackendServer, Handler, Settings
from trunkline.process.address import Address
from trunkline.v1 import model_pb2, model_pb2_grpc

ANY_PORT = Address("127.0.0.1", 0)
TIMEOUT_S = 20.0


async def soon(awaitable: Awaitable[Any]) -> Any:
    """Await, but fail rather than hang."""
    return await asyncio.wait_for(awaitable, TIMEOUT_S)


async def tasks_left(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Tasks that were not there before and do not end by themselves.

    gRPC reads the final status of a cancelled stream in a task of its own, a moment later.
    """
    started = asyncio.all_tasks() - before - {asyncio.current_task()}
    return (await asyncio.wait(started, timeout=TIMEOUT_S))[1] if started else started


class Sink:
    """A CallSink that remembers; `until` waits for what it has to hear."""

    def __init__(self) -> None:
        self.handle: CallHandle | None = None  # set it to give credit back for every frame
        self.audio: list[tuple[bytes, int]] = []
        self.data: list[tuple[str, str | bytes]] = []
        self.clears = 0
        self.acceptances = 0
        self.snapshots: list[bytes] = []
        self.ears: list[model_pb2.Playout] = []
        self.hang_ups: list[str] = []
        self.losses = 0
        self.faults: list[Exception] = []
        self.encoder = model_pb2.OpusEncoder()
        self._heard = asyncio.Event()

    def on_accepted(self) -> None:
        self.acceptances += 1
        self._heard.set()

    def on_remember(self, snapshot: bytes) -> None:
        self.snapshots.append(snapshot)
        self._heard.set()

    def on_resumed(self, ear: model_pb2.Playout) -> None:
        self.ears.append(ear)
        self._heard.set()

    def on_encoder(self, encoder: model_pb2.OpusEncoder) -> None:
        self.encoder = encoder
        self._heard.set()

    def on_audio(self, payload: bytes, duration: int) -> None:
        self.audio.append((payload, duration))
        if self.handle is not None:
            self.handle.give_credit(1)
        self._heard.set()

    def on_data(self, label: str, content: str | bytes) -> None:
        self.data.append((label, content))
        self._heard.set()

    def on_clear(self) -> None:
        self.clears += 1
        self._heard.set()

    def on_hang_up(self, reason: str) -> None:
        self.hang_ups.append(reason)
        self._heard.set()

    def on_backend_lost(self) -> None:
        self.losses += 1
        self._heard.set()

    def on_fault(self, error: Exception) -> None:
        self.faults.append(error)
        self._heard.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


@asynccontextmanager
async def serving(
    handler: Handler, *, hold_ms: int = Settings.hold_ms, **options: Any
) -> AsyncIterator[BackendServer]:
    """A backend on a free port."""
    backend = Backend(handler, **options)
    async with BackendServer(backend, ANY_PORT, hold_ms=hold_ms) as server:
        yield server


@asynccontextmanager
async def linked(port: int) -> AsyncIterator[ModelLink]:
    """A link that is ready."""
    async with running_link(port) as link:
        await soon(link.until_ready())
        yield link


@asynccontextmanager
async def running_link(port: int) -> AsyncIterator[ModelLink]:
    """A link that may never become ready."""
    link = ModelLink(f"127.0.0.1:{port}", "tr-test")
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        await link.close()
        await soon(task)


async def until_absent(link: ModelLink) -> None:
    """Return when there is no backend for new calls."""
    async with asyncio.timeout(TIMEOUT_S):
        while link.ready:
            await asyncio.sleep(0.01)


async def open_call(link: ModelLink, name: str = "call_1", credit: int = 50) -> tuple[Any, Sink]:
    """An accepted call whose sink gives no credit back."""
    sink = Sink()
    handle = link.open_call(name, "", sink, credit, 0)
    await handle.accepted(TIMEOUT_S)
    return handle, sink


class ScriptedBackend:
    """A backend that says what a test wants, whatever it hears; `heard` holds the events."""

    def __init__(self, protocol: int = 1, mute: bool = False, brief: bool = False) -> None:
        self.port = 0
        self.heard: list[model_pb2.CallEvent] = []
        self.batches: list[int] = []  # events in each
        self.streams = 0  # open now
        self._protocol = protocol
        self._mute = mute
        self._brief = brief  # ends each stream after its greeting
        self._heard = asyncio.Event()
        self._context: Any = None

    async def Connect(self, _requests: Any, context: Any) -> None:  # noqa: N802
        self._context = context
        assert (await context.read()).hello.protocol == 1
        if self._mute:
            await asyncio.Event().wait()
        welcome = model_pb2.Welcome(protocol=self._protocol, backend="scripted", accepts=[1])  # type: ignore[list-item]
        await context.write(model_pb2.ToTransceiver(welcome=welcome))
        if self._brief:
            return
        self.streams += 1
        try:
            while (batch := await context.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                self.heard.extend(batch.events)
                self.batches.append(len(batch.events))
                self._heard.set()
        finally:
            self.streams -= 1

    async def say_leaving(self) -> None:
        await self._context.write(model_pb2.ToTransceiver(leaving=True))

    async def say(self, *events: model_pb2.BackendEvent) -> None:
        await self._context.write(model_pb2.ToTransceiver(events=events))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("event") for event in self.heard]


@asynccontextmanager
async def scripted(**options: Any) -> AsyncIterator[ScriptedBackend]:
    """A ScriptedBackend on a free port."""
    backend = ScriptedBackend(**options)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    model_pb2_grpc.add_ModelBackendServicer_to_server(backend, server)
    backend.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield backend
    finally:
        await server.stop(None)


class RawTransceiver:
    """The other end of a stream, event by event."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._waiting: list[model_pb2.BackendEvent] = []

    async def greet(self, protocol: int = 1) -> model_pb2.Welcome:
        hello = model_pb2.Hello(protocol=protocol, transceiver="tr-raw")
        await self.stream.write(model_pb2.ToBackend(hello=hello))
        return (await soon(self.stream.read())).welcome

    async def send(self, *events: model_pb2.CallEvent) -> None:
        await self.stream.write(model_pb2.ToBackend(events=events))

    async def start(self, call: int = 1, credit: int = 50, audio_format: int = 1) -> None:
        started = model_pb2.CallStarted(
            call_id=f"call_{call}",
            format=audio_format,  # type: ignore[arg-type]
            send_credit=credit,
        )
        await self.send(model_pb2.CallEvent(call=call, started=started))

    async def hear(self) -> model_pb2.BackendEvent:
        """The next event."""
        while not self._waiting:
            self._waiting.extend((await soon(self.stream.read())).events)
        return self._waiting.pop(0)

    async def hear_kinds(self, count: int) -> list[tuple[int, str | None]]:
        events = [await self.hear() for _ in range(count)]
        return [(event.call, event.WhichOneof("event")) for event in events]


@asynccontextmanager
async def raw_transceiver(port: int) -> AsyncIterator[RawTransceiver]:
    """A RawTransceiver that has not greeted yet."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = model_pb2_grpc.ModelBackendStub(channel)
        stream = stub.Connect()
        try:
            yield RawTransceiver(stream)
        finally:
            stream.cancel()


def audio(call: int, payload: bytes = b"opus", rtp_time: int = 0) -> model_pb2.CallEvent:
    """One frame from the caller."""
    frame = model_pb2.Audio(payload=payload, rtp_time=rtp_time, duration=960)
    return model_pb2.CallEvent(call=call, audio=frame)


def text(call: int, content: str) -> model_pb2.CallEvent:
    """One text message from the caller."""
    return model_pb2.CallEvent(call=call, data=model_pb2.Data(label="chat", text=content))


class Service:
    """An address in front of backends, as a Kubernetes Service is: who connects gets `to`."""

    def __init__(self, to: int) -> None:
        self.to = to  # a port, for connections from now on
        self.port = 0

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until either side ends it."""
        there = await asyncio.open_connection("127.0.0.1", self.to)
        ways = [_copy(reader, there[1]), _copy(there[0], writer)]
        await asyncio.gather(*ways)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while content := await source.read(65_536):
            sink.write(content)
            await sink.drain()
    except ConnectionError:
        pass  # the other end is gone, and so is this
    finally:
        sink.close()


@asynccontextmanager
async def service(to: int) -> AsyncIterator[Service]:
    """A Service on a free port."""
    behind = Service(to)
    server = await asyncio.start_server(behind.forward, "127.0.0.1", 0)
    behind.port = server.sockets[0].getsockname()[1]
    async with server:
        yield behind
