"""A backend that leaves ends no call: new ones go elsewhere, those that are there go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backends.echo import echo
from tests.backends.kit import (
    TIMEOUT_S,
    Sink,
    linked,
    open_call,
    raw_transceiver,
    scripted,
    service,
    serving,
    soon,
    until_absent,
)
from tests.conftest import free_port
from transceiver.link.errors import BackendAbsent
from transceiver.link.model_link import ModelLink
from trunkline.backend import BackendServer
from trunkline.backend.leaving import leave
from trunkline.backend.server import SERVICE
from trunkline.process.health import LIVE


async def echoed(handle: Any, sink: Sink) -> None:
    """The call is alive: a message goes there and back."""
    before = len(sink.data)
    handle.send_text("chat", "still here?")
    await sink.until(lambda: len(sink.data) > before)


async def until_named(link: ModelLink, name: str) -> None:
    """Return when new calls go to the backend of that name."""
    async with asyncio.timeout(TIMEOUT_S):
        while link.backend != name or not link.ready:
            await asyncio.sleep(0.01)


async def test_new_calls_go_to_the_next_backend_and_old_ones_stay() -> None:
    """Behind one address: the stream of the leaving backend ends after its last call, in peace."""
    async with (
        serving(echo, name="old") as old,
        serving(echo, name="new") as new,
        service(old.port) as front,
        linked(front.port) as link,
    ):
        calls = [await open_call(link, f"call_{n}") for n in range(3)]
        front.to = new.port
        assert await old.drain() == 3
        assert link.ready  # until there is another stream, this one still takes calls
        await until_named(link, "new")
        later, later_sink = await open_call(link, "later")
        for handle, sink in calls:
            await echoed(handle, sink)
        assert [call.id for call in new.calls] == ["later"]
        calls[0][0].close("hangup")
        await echoed(*calls[1])
        assert not old_is_deserted(old)
        for handle, _ in calls[1:]:
            handle.close("hangup")
        await soon(old.deserted())
        await echoed(later, later_sink)
        assert [sink.losses for _, sink in calls] == [0, 0, 0]
        assert link.counters.link_losses == 0


def old_is_deserted(server: BackendServer) -> bool:
    """Whether no transceiver is connected now."""
    return not server._streams


async def test_with_nobody_else_there_new_calls_are_refused_and_old_ones_go_on() -> None:
    """A stream of a leaving backend takes no calls once another was asked for in vain."""
    async with serving(echo) as server, linked(server.port) as link:
        handle, sink = await open_call(link)
        await server.drain()
        await until_absent(link)
        with pytest.raises(BackendAbsent):
            link.open_call("late", "", Sink(), 50, 0)
        await echoed(handle, sink)
        await server.undrain()
        await soon(link.until_ready())
        again, again_sink = await open_call(link, "again")
        await echoed(again, again_sink)
        await echoed(handle, sink)
        assert sink.losses == 0


async def test_a_call_that_crosses_the_news_is_taken() -> None:
    """The transceiver could not know yet."""
    async with serving(echo) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await server.drain()
        await transceiver.start()
        while not (batch := await soon(transceiver.stream.read())).events:
            assert batch.leaving
        assert batch.events[0].HasField("accepted")


async def test_a_backend_that_says_it_again_and_again_costs_nothing() -> None:
    """Streams do not pile up: one that has no calls ends as soon as there is another."""
    async with scripted() as backend, linked(backend.port) as link:
        for _ in range(5):
            before = link.counters.link_connects
            await backend.say_leaving()
            async with asyncio.timeout(TIMEOUT_S):
                while link.counters.link_connects == before:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(TIMEOUT_S):
            while backend.streams > 1:
                await asyncio.sleep(0.01)
        assert link.ready


async def test_a_lost_stream_of_a_leaving_backend_is_a_loss_of_its_calls_alone() -> None:
    """Those on the new stream do not notice."""
    async with (
        serving(echo, name="old") as old,
        serving(echo, name="new") as new,
        service(old.port) as front,
        linked(front.port) as link,
    ):
        _, lost = await open_call(link, "old")
        front.to = new.port
        await old.drain()
        await until_named(link, "new")
        handle, kept = await open_call(link, "new")
        await old.stop()
        await lost.until(lambda: lost.losses)
        await echoed(handle, kept)
        assert (lost.losses, kept.losses, link.ready) == (1, 0, True)
        assert link.counters.link_losses == 1


async def test_health_says_so_and_liveness_does_not() -> None:
    """A Pod that drains is not ready and must not be restarted."""
    async with (
        serving(echo) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)

        async def serves(name: str) -> bool:
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

        await server.drain()
        assert [await serves(name) for name in ("", SERVICE, LIVE)] == [False, False, True]
        await server.undrain()
        assert [await serves(name) for name in ("", SERVICE, LIVE)] == [True, True, True]


async def test_at_the_deadline_calls_are_hung_up() -> None:
    """The transceiver hears `drained`, so the caller reads why."""
    async with serving(echo) as server, linked(server.port) as link:
        _, sink = await open_call(link)
        await server.drain(0.01)
        await sink.until(lambda: sink.hang_ups)
        assert sink.hang_ups == ["drained"]
        await soon(server.deserted())


async def test_a_drain_that_is_taken_back_has_no_deadline() -> None:
    """Calls live on; another drain brings another."""
    async with serving(echo) as server, linked(server.port) as link:
        handle, sink = await open_call(link)
        await server.drain(0.2)
        await server.undrain()
        await asyncio.sleep(0.3)
        await echoed(handle, sink)
        assert sink.hang_ups == []


async def test_leaving_waits_for_the_last_call(caplog: pytest.LogCaptureFixture) -> None:
    """And not for longer: it is over when the call is."""
    stop = asyncio.Event()
    stop.set()
    caplog.set_level("INFO", "trunkline")
    async with serving(echo) as server, linked(server.port) as link:
        handle, _ = await open_call(link)
        task = asyncio.create_task(leave(server, 3600, stop))
        await until_absent(link)
        assert not task.done()
        handle.close("hangup")
        await soon(task)
    ends = [vars(record) for record in caplog.records if record.msg == "drain_ended"]
    assert [line["calls_dismissed"] for line in ends] == [0]


async def test_a_second_signal_ends_the_waiting() -> None:
    """Who is left is told."""
    stop = asyncio.Event()
    stop.set()
    async with serving(echo) as server, linked(server.port) as link:
        _, sink = await open_call(link)
        task = asyncio.create_task(leave(server, 3600, stop))
        await until_absent(link)
        stop.set()
        await soon(task)
        assert sink.hang_ups == ["drained"]


async def test_sigterm_of_a_process_with_a_call() -> None:
    """It serves the call to its end, then exits 0."""
    port = free_port()
    own = {
        "TRUNKLINE_BACKEND_LISTEN": f"127.0.0.1:{port}",
        "TRUNKLINE_BACKEND_ADMIN": "127.0.0.1:0",
        "TRUNKLINE_BACKEND_DRAIN_S": "3600",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backends.echo"),
        env={**os.environ, **own},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with linked(port) as link:
            handle, sink = await open_call(link)
            process.send_signal(signal.SIGTERM)
            await until_absent(link)
            await echoed(handle, sink)
            handle.close("hangup")
            assert await soon(process.wait()) == 0
            assert (sink.losses, sink.hang_ups) == (0, [])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
