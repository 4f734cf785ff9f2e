"""The gRPC server of every process: health, reflection, and a port that is taken or not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import capture_logs

from fleet.admin.access import AdminToken
from fleet.admin.guard import counts
from fleet.admin.server import AdminSecurity, AdminServer, serve
from fleet.errors import AddressInUse, AddressUnusable
from trunkline.process.address import Address
from trunkline.process.health import LIVE
from trunkline.v1 import admin_pb2, admin_pb2_grpc

NAME = "trunkline.v1.RelayAdmin"
ANY_PORT = Address("127.0.0.1", 0)
Status = health_pb2.HealthCheckResponse


class RelayAdmin(admin_pb2_grpc.RelayAdminServicer):
    async def Stats(  # noqa: N802
        self,
        request: admin_pb2.StatsRequest,
        context: grpc.aio.ServicerContext[admin_pb2.StatsRequest, admin_pb2.StatsResponse],
    ) -> admin_pb2.StatsResponse:
        return admin_pb2.StatsResponse(nodes=7)

    async def Drain(self, request: object, context: object) -> object:  # noqa: N802
        raise RuntimeError("a bug near 203.0.113.7")

    async def Watch(self, request: object, context: object) -> AsyncIterator[object]:  # noqa: N802
        yield admin_pb2.WatchResponse()
        raise RuntimeError("a bug near 203.0.113.7")


@pytest.fixture
async def server() -> AsyncIterator[AdminServer]:
    add = partial(admin_pb2_grpc.add_RelayAdminServicer_to_server, RelayAdmin())
    admin = await serve(ANY_PORT, [add], [NAME])
    yield admin
    await admin.close(grace_s=0)


@pytest.fixture
async def channel(server: AdminServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True)
    return int(reply.status)


async def test_services_answer(channel: grpc.aio.Channel) -> None:
    """What was added is served."""
    stub = admin_pb2_grpc.RelayAdminStub(channel)
    assert (await stub.Stats(admin_pb2.StatsRequest())).nodes == 7


async def test_health_starts_as_not_serving_and_follows(
    server: AdminServer, channel: grpc.aio.Channel
) -> None:
    """The process and each service are ready when it says so, and not before."""
    for serving, status in ((None, Status.NOT_SERVING), (True, Status.SERVING), (False, 2)):
        if serving is not None:
            await server.set_serving(serving)
        assert await check(channel) == status
        assert await check(channel, NAME) == status


async def test_a_process_lives_whether_it_is_ready_or_not(
    server: AdminServer, channel: grpc.aio.Channel
) -> None:
    """A drained process is not ready, and whoever restarts dead ones must not restart it."""
    for serving in (False, True, False):
        await server.set_serving(serving)
        assert await check(channel, LIVE) == Status.SERVING


async def test_unknown_service_has_no_health(channel: grpc.aio.Channel) -> None:
    """NOT_FOUND, as the health protocol says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(channel, "nobody.Nothing")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_services(channel: grpc.aio.Channel) -> None:
    """grpcurl works without the proto files."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    (reply,) = [reply async for reply in call]
    names = {service.name for service in reply.list_services_response.service}
    expected = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection", NAME}
    assert names == expected


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::"])
async def test_a_taken_port_is_one_clear_line(
    server: AdminServer, host: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither shared silently nor reported by a library in its own words."""
    taken = Address(host, server.port)
    with pytest.raises(AddressInUse) as caught:
        await serve(taken, [], [])
    assert str(caught.value) == f"{taken} is in use by another process"
    assert capfd.readouterr().err == ""


async def test_a_port_taken_by_anything_else_is_taken() -> None:
    """The other process need not speak gRPC, nor have started to accept."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(AddressInUse):
        await serve(Address("127.0.0.1", other.getsockname()[1]), [], [])


async def test_a_port_taken_in_the_last_moment_is_taken(
    server: AdminServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ports are not shared with another gRPC server, even when the first look saw a free one."""

    async def looks_free(_address: Address) -> None:
        pass

    monkeypatch.setattr("fleet.admin.server.check_free", looks_free)
    with pytest.raises(AddressInUse):
        await serve(Address("127.0.0.1", server.port), [], [])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (Address("192.0.2.1", 9), "cannot assign requested address"),
        (Address("no-such-host.invalid", 9), "unknown host"),
    ],
)
async def test_an_address_that_is_not_ours(address: Address, reason: str) -> None:
    """The line says which address and why."""
    with pytest.raises(AddressUnusable) as caught:
        await serve(address, [], [])
    assert str(caught.value) == f"cannot listen on {address} ({reason})"


async def test_a_port_is_free_again_after_close(server: AdminServer) -> None:
    """A restart on the same port works at once, also with a client still connected."""
    address = Address("127.0.0.1", server.port)
    async with grpc.aio.insecure_channel(str(address)) as channel:
        await check(channel)
        await server.close(grace_s=0)
        again = await serve(address, [], [])
        assert again.port == address.port
        assert await check(channel) == Status.NOT_SERVING
        await again.close(grace_s=0)


async def test_closing_tells_watchers_and_lets_them_go(server: AdminServer) -> None:
    """A load balancer that watches health sees NOT_SERVING before the connection ends."""
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == Status.SERVING
        closing = asyncio.create_task(server.close(grace_s=0.1))
        assert (await watch.read()).status == Status.NOT_SERVING
        await closing
        assert await watch.code() != grpc.StatusCode.OK


async def test_ipv6() -> None:
    """Bracketed addresses reach gRPC as it wants them."""
    admin = await serve(Address("::1", 0), [], [])
    async with grpc.aio.insecure_channel(f"[::1]:{admin.port}") as channel:
        assert await check(channel) == Status.NOT_SERVING
    await admin.close(grace_s=0)


TOKEN = "0123456789abcdef"
ADMIN = "/trunkline.v1.RelayAdmin/"


@pytest.fixture
async def guarded() -> AsyncIterator[Any]:
    """A port that asks for a token."""
    add = partial(admin_pb2_grpc.add_RelayAdminServicer_to_server, RelayAdmin())
    security = AdminSecurity(tokens=(AdminToken.parse(f"operator:ann:{TOKEN}"),))
    admin = await serve(ANY_PORT, [add], [NAME], security)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{admin.port}") as channel:
        yield channel
    await admin.close(grace_s=0)


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in call if hasattr(call, "__aiter__") else _once(call):
            pass
    return failed.value.code(), failed.value.details() or ""


async def _once(call: Any) -> AsyncIterator[Any]:
    yield await call


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 5000])
@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("method", ["Stats", "Watch", "Drain"])
async def test_what_cannot_be_read_is_one_counted_line(
    guarded: Any,  # its type wants serializers, which would make what is sent here impossible
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    token: str,
    method: str,
) -> None:
    """Without a token nobody reads it; with one it is INVALID_ARGUMENT. gRPC says nothing."""
    kind = guarded.unary_stream if method == "Watch" else guarded.unary_unary
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    before = dict(counts)
    with capture_logs() as logged:
        code, detail = await status_of(kind(ADMIN + method)(data, metadata=metadata))
    if token:
        assert (code, detail) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"the request is no RelayAdmin/{method} message",
        )
        counter, event = "admin_calls_unreadable", "admin_unreadable"
    else:
        assert code is grpc.StatusCode.UNAUTHENTICATED
        counter, event = "admin_calls_denied", "admin_denied"
    assert {
        name: counts[name] - before[name] for name in counts if counts[name] != before[name]
    } == {counter: 1}
    assert [line["event"] for line in logged] == [event]
    assert not caplog.records


async def test_health_and_reflection_are_guarded_too(
    guarded: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """They are open to all, and read what anybody sends."""
    check = guarded.unary_unary("/grpc.health.v1.Health/Check")
    watch = guarded.unary_stream("/grpc.health.v1.Health/Watch")
    listing = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    reflect = guarded.stream_stream(listing)
    with capture_logs() as logged:
        assert (await status_of(check(b"\xff")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await status_of(watch(b"\xff")))[0] is grpc.StatusCode.INVALID_ARGUMENT
        bad = reflect(iter([b"\xff"]), metadata=metadata)
        assert (await status_of(bad))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert [line["event"] for line in logged] == ["admin_unreadable"] * 3
    assert not caplog.records


@pytest.mark.parametrize("method", ["Drain", "Watch"])
async def test_a_fault_in_a_method_ends_that_call(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """INTERNAL with what it was, counted, and logged once; the next call is answered."""
    stub: Any = admin_pb2_grpc.RelayAdminStub(channel)
    requests = {"Drain": admin_pb2.RelayDrainRequest(), "Watch": admin_pb2.WatchRequest()}
    before = counts["admin_calls_failed"]
    with capture_logs() as logged:
        code, detail = await status_of(getattr(stub, method)(requests[method]))
    assert code is grpc.StatusCode.INTERNAL
    assert detail == f"RelayAdmin/{method} failed (RuntimeError); the log has more"
    assert counts["admin_calls_failed"] == before + 1
    assert [line["event"] for line in logged].count("admin_failed") == 1
    assert not caplog.records
    assert (await stub.Stats(admin_pb2.StatsRequest())).nodes == 7
