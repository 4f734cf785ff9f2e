"""Who gets into an admin port, as a rule and over real connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from fleet import logs
from fleet.admin import process_admin
from fleet.admin.access import AdminAccess, AdminToken, Caller, Denied, Operator, Role, bearer
from fleet.admin.guard import may, needs_operator
from fleet.admin.process_admin import ProcessAdmin
from fleet.admin.server import AdminSecurity, serve
from fleet.admin.tls import AdminTls, BadCertificate
from fleet.directory.directory import Load, Node
from fleet.errors import StoreUnavailable
from fleet.event_tap import MAX_WAITING, MAX_WATCHERS, EventTap, TooManyWatchers
from fleet.settings import FleetSettings
from tests.conftest import free_port
from tests.fleet.certificates import Authority
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc

VIEWER, OPERATOR = "v" * 16, "o" * 16
TOKENS = (
    AdminToken.parse(f"viewer:dashboard:{VIEWER}"),
    AdminToken.parse(f"operator:alice:{OPERATOR}"),
)
SECRET = "5" * 64
NODE = Node(
    3, 9, Address("127.0.0.1", 4000), "n", admin=Address("127.0.0.1", 9201), load=Load(2, 5)
)
Code = grpc.StatusCode


def settings(**others: Any) -> FleetSettings:
    """Settings with secrets in every kind of field."""
    values: dict[str, Any] = {
        "token_keys": f"2:{SECRET},1:{SECRET}",
        "trunk_keys": f"1:{SECRET}",
        "redis_url": "redis://user:hunter2@127.0.0.1:6379/0",
        "admin_tokens": f"viewer:dashboard:{VIEWER}",
    }
    return FleetSettings(**values | others)


@asynccontextmanager
async def served(
    security: AdminSecurity, nodes: process_admin.Nodes | None = None
) -> AsyncIterator[int]:
    """A ProcessAdmin on a free port."""

    async def one() -> list[Node]:
        return [NODE]

    servicer = ProcessAdmin("relay", settings(), nodes or one)
    add = partial(admin_pb2_grpc.add_ProcessAdminServicer_to_server, servicer)
    server = await serve(Address("127.0.0.1", 0), [add], [process_admin.SERVICE_NAME], security)
    try:
        yield server.port
    finally:
        await server.close(grace_s=0)


@asynccontextmanager
async def connected(
    security: AdminSecurity, nodes: process_admin.Nodes | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A plain connection to one."""
    async with (
        served(security, nodes) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


def stub(channel: grpc.aio.Channel) -> Any:
    return admin_pb2_grpc.ProcessAdminStub(channel)


async def code_of(call: Any) -> grpc.StatusCode:
    """The status of a call; OK when it works."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


def sent(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")] if token else []


@pytest.mark.parametrize(
    "text",
    ["", "alice", f"admin:alice:{OPERATOR}", f"viewer::{VIEWER}", "viewer:alice:short", "viewer:a"],
)
def test_unreadable_tokens_are_refused_unquoted(text: str) -> None:
    """What is wrong is said without any of what was written."""
    with pytest.raises(ValueError, match="token") as caught:
        AdminToken.parse(text)
    assert "alice" not in str(caught.value)


def test_a_token_is_not_kept() -> None:
    """Neither the value nor its text has it."""
    assert OPERATOR not in repr(TOKENS[1])


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("abc", ""), ("", "")],
)
def test_the_token_of_a_header(header: str, token: str) -> None:
    """RFC 6750, with any case of the scheme."""
    assert bearer(header) == token


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", ""])
def test_without_tokens_this_machine_is_an_operator(host: str) -> None:
    """Development needs no set-up."""
    assert AdminAccess().identify(Caller(host)) == Operator("local", Role.OPERATOR)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0", "x"]
)
def test_without_tokens_nobody_else_gets_in(host: str) -> None:
    """A port that was opened to a network by mistake is still closed."""
    with pytest.raises(Denied, match="TRUNKLINE_ADMIN_TOKENS"):
        AdminAccess().identify(Caller(host))


def test_with_tokens_this_machine_needs_one_too() -> None:
    """Other containers of a pod share its loopback."""
    with pytest.raises(Denied, match="Bearer"):
        AdminAccess(TOKENS).identify(Caller("127.0.0.1"))


def test_a_certificate_names_the_operator() -> None:
    """And one without a role is nobody."""
    bob = Operator("bob", Role.VIEWER)
    access = AdminAccess(certificates=True)
    assert access.identify(Caller("10.0.0.1", certificate=bob)) == bob
    with pytest.raises(Denied, match="O=operator"):
        access.identify(Caller("127.0.0.1"))


def test_every_method_says_what_it_needs() -> None:
    """Viewers may do exactly this; a method nobody knows acts."""
    methods = {
        f"/{service.full_name}/{method.name}"
        for service in admin_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    free = {method.rpartition("/")[2] for method in methods if not needs_operator(method)}
    assert free == {
        *("GetInfo", "ListNodes", "WatchEvents", "ListCalls", "GetCall", "ListLimits"),
        *("Stats", "ListFlows", "Watch", "WatchFlows"),
    }
    assert needs_operator("/nobody.Nothing/Read")
    assert not may(Role.VIEWER, "/trunkline.v1.RelayAdmin/Drain")
    assert may(Role.OPERATOR, "/trunkline.v1.RelayAdmin/Drain")


@pytest.mark.parametrize(
    ("token", "looks", "acts"),
    [
        ("", Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        ("x" * 16, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED),
        (VIEWER, Code.OK, Code.PERMISSION_DENIED),
        (OPERATOR, Code.OK, Code.OK),
    ],
)
async def test_roles_over_a_connection(
    token: str, looks: grpc.StatusCode, acts: grpc.StatusCode
) -> None:
    """No token, a wrong one, a viewer's, an operator's."""
    async with connected(AdminSecurity(tokens=TOKENS)) as channel:
        info = stub(channel).GetInfo(admin_pb2.GetInfoRequest(), metadata=sent(token))
        assert await code_of(info) is looks
        level = admin_pb2.SetLogLevelRequest(level="info")
        assert await code_of(stub(channel).SetLogLevel(level, metadata=sent(token))) is acts
        events = stub(channel).WatchEvents(
            admin_pb2.WatchEventsRequest(), metadata=sent("" if looks is Code.OK else token)
        )
        assert await code_of(events.read()) is Code.UNAUTHENTICATED


async def test_health_needs_nothing() -> None:
    """Kubelets have no token."""
    async with connected(AdminSecurity(tokens=TOKENS)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2


async def test_a_port_for_probes_that_cannot_do_tls(tmp_path: Path) -> None:
    """It says what the admin port says of health, without TLS, and nothing else."""
    place = Address("127.0.0.1", free_port())
    tls = AdminTls(*Authority(tmp_path).issue("server"))
    async with (
        served(AdminSecurity(tls, TOKENS, place)),
        grpc.aio.insecure_channel(str(place)) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2
        info = stub(channel).GetInfo(admin_pb2.GetInfoRequest(), metadata=sent(OPERATOR))
        assert await code_of(info) is Code.UNIMPLEMENTED


async def test_every_action_is_logged_with_who_and_why() -> None:
    """Also before the method says its own; looking is not an action; who is refused is logged."""
    async with connected(AdminSecurity(tokens=TOKENS)) as channel:
        request = admin_pb2.SetLogLevelRequest(level="info", why="for 203.0.113.7")
        with capture_logs() as logged:
            await stub(channel).SetLogLevel(request, metadata=sent(OPERATOR))
            await stub(channel).GetInfo(admin_pb2.GetInfoRequest(), metadata=sent(OPERATOR))
            await code_of(stub(channel).SetLogLevel(request, metadata=sent(VIEWER)))
    lines = [(e["event"], e["who"], e.get("why")) for e in logged]
    assert lines[0] == ("operator_action", "alice", "for 203.0.113.0/24")
    assert lines[1] == ("log_level_set", "alice", "for 203.0.113.0/24")
    assert [event for event, _, _ in lines[2:]] == ["admin_denied"]


async def test_tls_and_client_certificates(tmp_path: Path) -> None:
    """Plain connections and strangers get nothing; CN and O of the certificate decide."""
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    other.directory.mkdir()
    certificate, key = authority.issue("server")
    security = AdminSecurity(AdminTls(certificate, key, authority.certificate))
    async with served(security) as port:
        for issuer, organisation, expected in (
            (authority, "operator", Code.OK),
            (authority, "viewer", Code.PERMISSION_DENIED),
            (authority, "guest", Code.UNAUTHENTICATED),
            (other, "operator", Code.UNAVAILABLE),
        ):
            pem, secret = issuer.issue(f"bob-{organisation}", organisation)
            credentials = grpc.ssl_channel_credentials(
                authority.certificate.read_bytes(), secret.read_bytes(), pem.read_bytes()
            )
            async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
                request = admin_pb2.SetLogLevelRequest(level="info")
                with capture_logs() as logged:
                    assert await code_of(stub(channel).SetLogLevel(request)) is expected
            if expected is Code.OK:
                assert logged[0]["who"] == "bob-operator"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            info = stub(channel).GetInfo(admin_pb2.GetInfoRequest())
            assert await code_of(info) is Code.UNAVAILABLE


async def test_a_renewed_certificate_is_used_at_once(tmp_path: Path) -> None:
    """The next connection gets it; a broken file changes nothing."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    tls = AdminTls(certificate, key)

    async def served_now(port: int) -> bytes:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        del reader
        return found

    async with served(AdminSecurity(tls)) as port:
        first = await served_now(port)
        certificate.write_bytes(b"half a fi")
        assert await served_now(port) == first
        authority.issue("server")
        assert await served_now(port) != first


def _expired(authority: Authority) -> AdminTls:
    return AdminTls(*authority.issue("server", lasts=timedelta(days=-1)))


def _not_yet(authority: Authority) -> AdminTls:
    return AdminTls(*authority.issue("server"))


def _no_file(authority: Authority) -> AdminTls:
    return AdminTls(authority.directory / "nothing.pem", authority.issue("server")[1])


def _no_pem(authority: Authority) -> AdminTls:
    certificate, key = authority.issue("server")
    certificate.write_text("certificate")
    return AdminTls(certificate, key)


def _other_key(authority: Authority) -> AdminTls:
    return AdminTls(authority.issue("server")[0], authority.issue("client")[1])


def _expired_ca(authority: Authority) -> AdminTls:
    return AdminTls(*authority.issue("server"), authority.issue("ca2", lasts=timedelta(days=-1))[0])


@pytest.mark.parametrize(
    ("fault", "moved", "line"),
    [
        (_expired, 0, "TRUNKLINE_ADMIN_TLS_CERT: expired on .* UTC; renew it"),
        (_not_yet, -9, "TRUNKLINE_ADMIN_TLS_CERT: not valid before .*clock"),
        (_no_file, 0, "TRUNKLINE_ADMIN_TLS_CERT: .*nothing.pem: no such file"),
        (_no_pem, 0, "TRUNKLINE_ADMIN_TLS_CERT: not a PEM certificate"),
        (_other_key, 0, "TRUNKLINE_ADMIN_TLS_KEY: not the key of"),
        (_expired_ca, 0, "TRUNKLINE_ADMIN_CLIENT_CA: expired on"),
    ],
)
def test_a_certificate_that_cannot_serve_is_one_line(
    tmp_path: Path, fault: Callable[[Authority], AdminTls], moved: int, line: str
) -> None:
    """It names the variable, and what to do."""
    tls = fault(Authority(tmp_path))
    with pytest.raises(BadCertificate, match=line):
        tls.check(datetime.now(UTC) + timedelta(days=moved))


@pytest.mark.parametrize(
    ("others", "line"),
    [
        ({"admin_tls_cert": "/a.pem"}, "comes together"),
        ({"admin_tls_key": "/a.key"}, "comes together"),
        ({"admin_client_ca": "/ca.pem"}, "needs TRUNKLINE_ADMIN_TLS_CERT"),
        ({"admin_tokens": "operator:alice:short"}, "16 characters"),
    ],
)
def test_settings_that_do_not_fit_together(others: dict[str, str], line: str) -> None:
    """They are found when they are read, by the variable's rule."""
    with pytest.raises(ValueError, match=line):
        settings(**others)


async def test_info_shows_settings_without_secrets() -> None:
    """Ids of keys and names of operators are there; what opens something is not."""
    async with connected(AdminSecurity()) as channel:
        info = await stub(channel).GetInfo(admin_pb2.GetInfoRequest())
        nodes = await stub(channel).ListNodes(admin_pb2.ListNodesRequest())
    assert info.process == "relay"
    assert info.settings["TRUNKLINE_TOKEN_KEYS"] == "ids 2,1"
    assert info.settings["TRUNKLINE_REDIS_URL"] == "***"
    assert info.settings["TRUNKLINE_ADMIN_TOKENS"] == "viewer:dashboard:***"
    assert not [value for value in (SECRET, "hunter2", VIEWER) if value in str(info)]
    assert info.started_unix_ms <= info.now_unix_ms
    assert [(n.index, n.epoch, n.admin, n.calls, n.capacity) for n in nodes.nodes] == [
        (3, 9, "127.0.0.1:9201", 2, 5)
    ]


async def test_a_directory_that_cannot_be_had_is_unavailable() -> None:
    """With the store's own words."""

    async def away() -> list[Node]:
        raise StoreUnavailable("Redis at nowhere cannot be reached")

    async with connected(AdminSecurity(), away) as channel:
        call = stub(channel).ListNodes(admin_pb2.ListNodesRequest())
        assert await code_of(call) is Code.UNAVAILABLE


async def test_a_process_without_a_directory_says_so() -> None:
    """A backend knows no transceivers but those that call it."""
    servicer = ProcessAdmin("backend", settings(), None)
    add = partial(admin_pb2_grpc.add_ProcessAdminServicer_to_server, servicer)
    server = await serve(Address("127.0.0.1", 0), [add], [process_admin.SERVICE_NAME])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = stub(channel).ListNodes(admin_pb2.ListNodesRequest())
        assert await code_of(call) is Code.UNIMPLEMENTED
    await server.close(grace_s=0)


async def test_the_log_level_changes_and_events_are_watched() -> None:
    """An event comes with its fields, redacted; an unknown level is refused."""
    logs.configure("info", "json")
    log = structlog.get_logger()
    async with connected(AdminSecurity()) as channel:
        watch = stub(channel).WatchEvents(admin_pb2.WatchEventsRequest(prefix="call_"))
        reading = asyncio.ensure_future(watch.read())
        while not logs.tap._watchers:
            await asyncio.sleep(0)
        log.info("lease_claimed")
        log.debug("call_debugged")
        log.info("call_created", call_id="rtc_1", client=logs.ClientAddress("203.0.113.7"))
        event = await reading
        before = await stub(channel).SetLogLevel(admin_pb2.SetLogLevelRequest(level="debug"))
        log.debug("call_debugged")
        debugged = await watch.read()
        watch.cancel()
        wrong = stub(channel).SetLogLevel(admin_pb2.SetLogLevelRequest(level="loud"))
        assert await code_of(wrong) is Code.INVALID_ARGUMENT
    assert (event.name, event.level) == ("call_created", "info")
    assert dict(event.fields) == {"call_id": "rtc_1", "client": "203.0.113.0/24"}
    assert (before.level_before, debugged.name) == ("info", "call_debugged")
    logs.set_level("info")


async def test_watchers_are_bounded_and_slow_ones_are_told() -> None:
    """One too many is refused; what a slow one misses is counted in its next event."""
    tap = EventTap()
    watches = [tap.watch() for _ in range(MAX_WATCHERS)]
    pending = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWatchers):
        await anext(tap.watch())
    for number in range(MAX_WAITING + 3):
        tap(None, "info", {"event": f"e{number}"})
    seen = [await pending[0]] + [await anext(watches[0]) for _ in range(MAX_WAITING - 1)]
    tap(None, "info", {"event": "last"})
    assert [event.name for event in seen[:2]] == ["e0", "e1"]
    assert (await anext(watches[0])).missed == 3
    for task in pending[1:]:
        await task
    for watch in watches:
        await watch.aclose()
    assert tap._watchers == set()
