"""A backend's admin port: its calls, and who may look at and end them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backends.admin import SERVICE_NAME
from backends.admin import serving as admin_port
from backends.echo import echo
from backends.settings import BackendSettings
from fleet.admin.server import AdminSecurity
from fleet.admin.tls import BadCertificate
from tests.backends.kit import linked, open_call, serving, soon, until_absent
from tests.fleet.certificates import Authority
from trunkline.v1 import admin_pb2, admin_pb2_grpc

VIEWER, OPERATOR = "v" * 16, "o" * 16
Code = grpc.StatusCode


def settings(**others: Any) -> BackendSettings:
    """Settings with a free admin port."""
    return BackendSettings(**{"backend_admin": "127.0.0.1:0", **others})


@asynccontextmanager
async def operated(**others: Any) -> AsyncIterator[tuple[int, Any]]:
    """A backend on a free port, and a stub for its admin port."""
    async with (
        serving(echo) as server,
        admin_port(settings(**others), server) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield server.port, admin_pb2_grpc.BackendAdminStub(channel)


async def code_of(call: Any) -> grpc.StatusCode:
    """How a call ended."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


async def test_calls_of_all_transceivers_are_listed_page_by_page() -> None:
    """Each with who carries it; a size and a token nobody gave out are refused."""
    async with operated() as (port, admin), linked(port) as one, linked(port) as two:
        opened = [
            await open_call(link, f"call_{number}") for number, link in enumerate((one, two, one))
        ]
        names, token = [], ""
        while True:
            request = admin_pb2.ListCallsRequest(page_size=2, page_token=token)
            page = await admin.ListCalls(request)
            names += [call.call_id for call in page.calls]
            token = page.next_page_token
            if not token:
                break
        assert names == ["call_0", "call_1", "call_2"]
        assert page.total == 3
        assert page.calls[0].transceiver == "tr-test"
        assert page.calls[0].audio_format == "opus"
        for wrong in ({"page_size": 1001}, {"page_token": "7"}):
            refused = admin.ListCalls(admin_pb2.ListCallsRequest(**wrong))
            assert await code_of(refused) is Code.INVALID_ARGUMENT
        opened[0][0].close("hangup")


async def test_an_operator_ends_a_call() -> None:
    """The transceiver hears why; the other call goes on, and the ended one is gone."""
    async with operated() as (port, admin), linked(port) as link:
        _, ended = await open_call(link, "call_1")
        other, kept = await open_call(link, "call_2")
        await admin.EndCall(admin_pb2.EndCallRequest(call_id="call_1", why="test"))
        await ended.until(lambda: ended.hang_ups)
        assert ended.hang_ups == ["operator"]
        other.send_audio(b"x", 0, 960)
        await kept.until(lambda: kept.audio)
        again = admin.EndCall(admin_pb2.EndCallRequest(call_id="call_1"))
        assert await code_of(again) is Code.NOT_FOUND
        (left,) = (await admin.ListCalls(admin_pb2.ListCallsRequest())).calls
        assert left.call_id == "call_2"


async def test_an_operator_drains_it_and_takes_that_back() -> None:
    """No new streams meanwhile; the call that is there goes on, or ends at the deadline."""
    async with operated() as (port, admin), linked(port) as link:
        _, sink = await open_call(link)
        answer = await admin.Drain(admin_pb2.DrainRequest(why="upgrade"))
        assert answer.calls == 1
        await until_absent(link)
        await admin.Drain(admin_pb2.DrainRequest(undo=True))
        await soon(link.until_ready())
        assert sink.hang_ups == []
        await admin.Drain(admin_pb2.DrainRequest(deadline_s=1))
        await sink.until(lambda: sink.hang_ups)
        assert sink.hang_ups == ["drained"]


async def test_a_reason_has_a_length_and_a_deadline_too() -> None:
    """As on every admin port."""
    async with operated() as (_, admin):
        request = admin_pb2.EndCallRequest(call_id="x", why="w" * 201)
        assert await code_of(admin.EndCall(request)) is Code.INVALID_ARGUMENT
        for wrong in ({"why": "w" * 201}, {"deadline_s": 86_401}):
            drain = admin.Drain(admin_pb2.DrainRequest(**wrong))
            assert await code_of(drain) is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("token", "looks", "acts"),
    [
        ("", Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        (VIEWER, Code.OK, Code.PERMISSION_DENIED),
        (OPERATOR, Code.OK, Code.NOT_FOUND),
    ],
)
async def test_roles(token: str, looks: grpc.StatusCode, acts: grpc.StatusCode) -> None:
    """The same tokens as on relays and transceivers, with the same roles."""
    tokens = f"viewer:dashboard:{VIEWER},operator:alice:{OPERATOR}"
    metadata = [("authorization", f"Bearer {token}")] if token else []
    async with operated(admin_tokens=tokens) as (_, admin):
        seen = admin.ListCalls(admin_pb2.ListCallsRequest(), metadata=metadata)
        assert await code_of(seen) is looks
        done = admin.EndCall(admin_pb2.EndCallRequest(call_id="none"), metadata=metadata)
        assert await code_of(done) is acts


async def test_tls_health_and_what_every_process_answers(tmp_path: Path) -> None:
    """Over TLS; the settings are there and the token in them is not."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    given = settings(
        admin_tokens=f"operator:alice:{OPERATOR}", admin_tls_cert=certificate, admin_tls_key=key
    )
    trust = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    async with (
        serving(echo) as server,
        admin_port(given, server) as port,
        grpc.aio.secure_channel(f"localhost:{port}", trust) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE_NAME, "live"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        process: Any = admin_pb2_grpc.ProcessAdminStub(channel)
        metadata = [("authorization", f"Bearer {OPERATOR}")]
        info = await process.GetInfo(admin_pb2.GetInfoRequest(), metadata=metadata)
    assert info.process == "backend"
    assert info.settings["TRUNKLINE_ADMIN_TOKENS"] == "operator:alice:***"
    assert OPERATOR not in str(info)


def test_an_expired_certificate_keeps_it_from_starting(tmp_path: Path) -> None:
    """In one line with the variable, as other processes say it."""
    certificate, key = Authority(tmp_path).issue("localhost", lasts=timedelta(days=-1))
    security = AdminSecurity.of(settings(admin_tls_cert=certificate, admin_tls_key=key))
    with pytest.raises(BadCertificate, match=r"TRUNKLINE_ADMIN_TLS_CERT.*expired on"):
        security.check()
