"""A backend server as a transceiver sees it, event by event."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from backends.echo import echo
from backends.operated import OperatedHost
from backends.settings import BackendSettings
from fleet.errors import AddressInUse
from tests.backends.kit import audio, raw_transceiver, serving, soon, text
from trunkline.backend import AudioFormat, BackendServer, Call, Text
from trunkline.process.address import Address
from trunkline.v1 import model_pb2


def _ended(call: int, reason: str = "hangup") -> model_pb2.CallEvent:
    return model_pb2.CallEvent(call=call, ended=model_pb2.CallEnded(reason=reason))


async def test_greeting() -> None:
    """The Welcome carries protocol, name, formats and limit."""
    formats = (AudioFormat.OPUS, AudioFormat.PCM16_24000)
    backend = serving(echo, name="mine", accepts=formats, max_calls=7)
    async with backend as server, raw_transceiver(server.port) as transceiver:
        welcome = await transceiver.greet()
    assert (welcome.protocol, welcome.backend, welcome.max_calls) == (1, "mine", 7)
    assert tuple(welcome.accepts) == formats


async def test_another_protocol_version() -> None:
    """A Hello of another version ends the stream UNIMPLEMENTED, naming both."""
    async with serving(echo) as server, raw_transceiver(server.port) as transceiver:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await transceiver.greet(protocol=2)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "this backend speaks protocol 1, not 2"


async def test_a_stream_that_does_not_begin_with_a_hello() -> None:
    """It ends INVALID_ARGUMENT."""
    async with serving(echo) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.start()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await soon(transceiver.stream.read())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_echo() -> None:
    """Audio, text and bytes come back as they were, after the acceptance."""
    binary = model_pb2.Data(label="raw", binary=b"\x00\xff")
    async with serving(echo) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        frame = audio(1, b"opus packet", 960)
        frame.audio.duration = 480
        await transceiver.send(frame, text(1, "héllo"), model_pb2.CallEvent(call=1, data=binary))
        assert await transceiver.hear_kinds(1) == [(1, "accepted")]
        heard = (await transceiver.hear()).audio
        assert (heard.payload, heard.duration) == (b"opus packet", 480)
        assert (await transceiver.hear()).data == model_pb2.Data(label="chat", text="héllo")
        assert (await transceiver.hear()).data == binary


async def test_the_limit_and_a_foreign_format_are_refused() -> None:
    """Refused carries a reason for the operator; other calls are untouched."""
    async with serving(echo, max_calls=1) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start(1)
        await transceiver.start(2)
        await transceiver.start(3, audio_format=AudioFormat.PCM16_8000)
        assert await transceiver.hear_kinds(1) == [(1, "accepted")]
        assert (await transceiver.hear()).refused.reason == "at the limit of 1 calls"
        assert (await transceiver.hear()).refused.reason == "audio format not accepted"
        await transceiver.send(text(1, "alive"))
        assert (await transceiver.hear()).data.text == "alive"


async def test_an_ended_call_makes_room_once_its_handler_is_done() -> None:
    """A handler that still cleans up counts against the limit."""
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def handler(call: Call) -> None:
        try:
            await echo(call)
        finally:
            cleaning.set()
            await cleaned.wait()

    async with serving(handler, max_calls=1) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start(1)
        await transceiver.send(text(1, "running"))
        assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "data")]
        await transceiver.send(_ended(1))
        await soon(cleaning.wait())
        await transceiver.start(2)
        assert await transceiver.hear_kinds(1) == [(2, "refused")]
        cleaned.set()
        await soon(server.idle())
        await transceiver.start(3)
        assert await transceiver.hear_kinds(1) == [(3, "accepted")]


async def test_a_call_that_ends_before_its_handler_ran() -> None:
    """Started and ended in one batch leaves no call behind."""
    async with serving(echo, max_calls=1) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        started = model_pb2.CallStarted(call_id="c", format=1, send_credit=1)  # type: ignore[arg-type]
        await transceiver.send(model_pb2.CallEvent(call=1, started=started), _ended(1))
        assert await transceiver.hear_kinds(1) == [(1, "accepted")]
        await transceiver.start(2)
        assert await transceiver.hear_kinds(1) == [(2, "accepted")]


async def test_a_handler_that_returns_hangs_up() -> None:
    """The end of the handler is the end of the call."""

    async def handler(call: Call) -> None:
        await call.send_text("chat", "bye")

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "data")]
        assert (await transceiver.hear()).hang_up.reason == "hangup"


async def test_a_handler_that_outlives_its_call_is_cancelled() -> None:
    """After hang_up the handler is cancelled at its next await, and may clean up."""
    steps: list[str] = []
    done = asyncio.Event()

    async def handler(call: Call) -> None:
        try:
            call.hang_up("client_closed")
            steps.append("goes on")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise
        finally:
            done.set()

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        assert await transceiver.hear_kinds(1) == [(1, "accepted")]
        assert (await transceiver.hear()).hang_up.reason == "client_closed"
        await soon(done.wait())
    assert steps == ["goes on", "cancelled"]


async def test_the_end_of_a_stream_ends_all_its_calls_and_no_others() -> None:
    """Every handler of the lost transceiver is cancelled; another transceiver's calls live on."""
    cancelled: asyncio.Queue[str] = asyncio.Queue()

    async def handler(call: Call) -> None:
        try:
            await echo(call)
        except asyncio.CancelledError:
            cancelled.put_nowait(call.id)
            raise

    async with serving(handler) as server, raw_transceiver(server.port) as survivor:
        await survivor.greet()
        await survivor.start(9)
        assert await survivor.hear_kinds(1) == [(9, "accepted")]
        async with raw_transceiver(server.port) as transceiver:
            await transceiver.greet()
            for number in range(1, 4):
                await transceiver.start(number)
                await transceiver.send(text(number, "running"))
                assert len(await transceiver.hear_kinds(2)) == 2
        ended = {await soon(cancelled.get()) for _ in range(3)}
        assert ended == {"call_1", "call_2", "call_3"}
        await survivor.send(text(9, "alive"))
        assert (await survivor.hear()).data.text == "alive"
        assert cancelled.empty()


async def test_stopping_the_server_ends_handlers_first() -> None:
    """When `stop` returns, every handler has cleaned up."""
    cleaned = False

    async def handler(call: Call) -> None:
        nonlocal cleaned
        try:
            await echo(call)
        finally:
            await asyncio.sleep(0)
            cleaned = True

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        await transceiver.send(text(1, "running"))
        assert len(await transceiver.hear_kinds(2)) == 2
        await server.stop()
        assert cleaned


async def test_an_old_report_does_not_answer_a_clear() -> None:
    """`clear` returns the first playout that counts it."""
    answers: asyncio.Queue[object] = asyncio.Queue()

    async def handler(call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Text):
                answers.put_nowait(await call.clear())

    def playout(sent: int, clears: int) -> model_pb2.CallEvent:
        return model_pb2.CallEvent(
            call=1, playout=model_pb2.Playout(sent_frames=sent, clears=clears)
        )

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        await transceiver.send(text(1, "go"))
        assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "clear")]
        await transceiver.send(playout(4, 0), playout(5, 1))
        answer = await soon(answers.get())
        assert (answer.sent, answer.clears) == (5, 1)


async def test_a_handlers_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line with the call's id, and HangUp `failed`."""

    async def handler(_call: Call) -> None:
        raise ValueError("boom")

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        assert await transceiver.hear_kinds(1) == [(1, "accepted")]
        assert (await transceiver.hear()).hang_up.reason == "failed"
    failures = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [(entry["msg"], entry["call_id"]) for entry in failures] == [
        ("handler_failed", "call_1")
    ]


async def test_a_call_that_ends_in_a_task_group_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Tasks of a handler that were sending learn that the call is over; nothing is logged."""

    async def handler(call: Call) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call.send_audio(b"x"))
            tasks.create_task(call.clear())

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start(credit=0)
        assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "clear")]
        await transceiver.send(_ended(1))
        await soon(server.idle())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_handler_that_cancels_itself_ends_its_call() -> None:
    """A CancelledError out of the handler's own doing leaves no call without a handler."""

    async def handler(_call: Call) -> None:
        raise asyncio.CancelledError

    async with serving(handler) as server, raw_transceiver(server.port) as transceiver:
        await transceiver.greet()
        await transceiver.start()
        assert await transceiver.hear_kinds(2) == [(1, "accepted"), (1, "hang_up")]


async def test_health() -> None:
    """The port reports SERVING, and NOT_FOUND for a name that it does not know."""
    async with serving(echo) as server, _channel(server.port) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "trunkline.v1.ModelBackend", "live"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_is_watched() -> None:
    """A watcher hears how it is now, and every change: here of a drain and of its end."""
    states = health_pb2.HealthCheckResponse
    async with serving(echo) as server, _channel(server.port) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        ready = health.Watch(health_pb2.HealthCheckRequest(service=""))
        other = health.Watch(health_pb2.HealthCheckRequest(service="other"))
        assert (await soon(ready.read())).status == states.SERVING
        await server.drain()
        assert (await soon(ready.read())).status == states.NOT_SERVING
        await server.undrain()
        assert (await soon(ready.read())).status == states.SERVING
        assert (await soon(other.read())).status == states.SERVICE_UNKNOWN


async def test_reflection() -> None:
    """An operated backend lists its services."""
    host = OperatedHost(BackendSettings())
    async with (
        BackendServer(echo, Address("127.0.0.1", 0), host.add_services) as server,
        _channel(server.port) as channel,
    ):
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        replies = [reply async for reply in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in replies[0].list_services_response.service}
    assert {"trunkline.v1.ModelBackend", "grpc.health.v1.Health"} <= names


def _channel(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")


async def test_a_port_already_taken() -> None:
    """A second server on the port is told so, instead of sharing it."""
    async with serving(echo) as server:
        second = BackendServer(echo, Address("127.0.0.1", server.port))
        with pytest.raises(AddressInUse, match=str(server.port)):
            await second.start()
