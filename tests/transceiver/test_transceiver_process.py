"""The whole process on free ports, with a real Redis and no backend."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import ClientSession
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backends.echo import echo
from fleet.admin.tls import BadCertificate
from fleet.directory.redis_store import RedisStore
from fleet.errors import AddressInUse
from fleet.limits.ledger import Usage
from fleet.limits.redis_ledger import RedisLedger
from tests.backends.kit import serving
from tests.conftest import RedisServer, free_port
from tests.fleet.certificates import Authority
from tests.rings import token_ring
from tests.transceiver.offers import real_offer
from transceiver.service import run
from transceiver.settings import TransceiverSettings
from trunkline.backend import Call

CLUSTER = 77


def settings_for(redis: RedisServer, **others: object) -> TransceiverSettings:
    """Settings with free ports on loopback."""
    values: dict[str, Any] = {
        "cluster": CLUSTER,
        "token_keys": "1:" + "74" * 32,
        "trunk_keys": "1:" + "22" * 32,
        "redis_url": redis.url,
        "transceiver_relays": "203.0.113.10:3478",
        "transceiver_api_keys": "key-one",
        "transceiver_http": f"127.0.0.1:{free_port()}",
        "transceiver_admin": f"127.0.0.1:{free_port()}",
        "transceiver_backend": f"127.0.0.1:{free_port()}",
    }
    return TransceiverSettings(**values | others)


async def until_serving(settings: TransceiverSettings) -> None:
    """Return when the health service says SERVING."""
    async with grpc.aio.insecure_channel(str(settings.transceiver_admin)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


async def test_starts_answers_and_leaves_nothing(redis_server: RedisServer) -> None:
    """It serves, says 503 while no backend is there, and gives its node index back at the end."""
    settings = settings_for(redis_server, transceiver_console=True)
    stop = asyncio.Event()
    tasks_before = asyncio.all_tasks()
    process = asyncio.create_task(run(settings, stop))
    await until_serving(settings)
    url = f"http://{settings.transceiver_http}"
    headers = {"Authorization": "Bearer key-one", "Content-Type": "application/sdp"}
    async with ClientSession() as client:
        async with client.get(f"{url}/healthz") as health:
            assert health.status == 200
        async with client.post(f"{url}/whip", data=real_offer(), headers=headers) as refused:
            assert refused.status == 503
            assert (await refused.json(content_type=None))["code"] == "backend_absent"
        async with client.get(f"{url}/console/config.json") as config:
            assert (await config.json())["key"] == "key-one"
    store = RedisStore(redis_server.url, CLUSTER, token_ring)
    assert len((await store.snapshot()).nodes) == 1
    stop.set()
    await process
    assert (await store.snapshot()).nodes == ()
    await store.close()
    assert asyncio.all_tasks() == tasks_before


@pytest.mark.parametrize("which", ["transceiver_http", "transceiver_admin"])
async def test_a_taken_port_is_said_before_anything_happens(
    redis_server: RedisServer, which: str
) -> None:
    """Somebody else's port ends the start with its address, and no lease was taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressInUse, match=address):
            await run(settings_for(redis_server, **{which: address}), asyncio.Event())


async def test_after_sigterm_a_live_call_has_its_time(redis_server: RedisServer) -> None:
    """New calls and health checks get 503, the directory says draining; the call ends it all."""
    headers = {"Authorization": "Bearer key-one", "Content-Type": "application/sdp"}
    async with serving(echo) as backend, ClientSession(headers=headers) as client:
        backends = f"127.0.0.1:{backend.port}"
        settings = settings_for(
            redis_server, transceiver_backend=backends, transceiver_drain_s=3600
        )
        url, store = (
            f"http://{settings.transceiver_http}",
            RedisStore(redis_server.url, CLUSTER, token_ring),
        )
        stop = asyncio.Event()
        process = asyncio.create_task(run(settings, stop))
        await until_serving(settings)
        location = await placed(client, url)
        stop.set()
        while not [node for node in (await store.snapshot()).nodes if node.draining]:
            await asyncio.sleep(0)
        async with client.post(f"{url}/whip", data=real_offer()) as refused:
            assert (await refused.json(content_type=None))["code"] == "draining"
            assert refused.headers["Retry-After"]
        async with client.get(f"{url}/healthz") as health:
            assert health.status == 503
        assert not process.done()
        async with client.delete(url + location) as ended:
            assert ended.status == 200
        await process
        assert (await store.snapshot()).nodes == ()
        await store.close()


async def test_calls_hold_places_that_all_processes_see(redis_server: RedisServer) -> None:
    """Two processes, one limit: a call on one keeps a call out of the other, until it ends."""
    headers = {"Authorization": "Bearer key-one", "Content-Type": "application/sdp"}
    stop = asyncio.Event()
    async with serving(echo) as backend, ClientSession(headers=headers) as client:
        pair = [
            settings_for(
                redis_server,
                cluster=CLUSTER + 1,
                transceiver_backend=f"127.0.0.1:{backend.port}",
                transceiver_limits="key/*: calls=1",
            )
            for _ in range(2)
        ]
        processes = [asyncio.create_task(run(settings, stop)) for settings in pair]
        one, other = (f"http://{settings.transceiver_http}" for settings in pair)
        for settings in pair:
            await until_serving(settings)
        location = await placed(client, one)
        async with client.post(f"{other}/whip", data=real_offer()) as refused:
            assert refused.status == 429
            assert (await refused.json(content_type=None))["code"] == "limit_calls"
        await client.delete(one + location)
        await client.delete(other + await placed(client, other))
        stop.set()
        await asyncio.gather(*processes)


async def test_a_backends_limit_holds_however_calls_came(redis_server: RedisServer) -> None:
    """Two processes, two backends of one call each: nobody names one, and the third is refused."""
    headers = {"Authorization": "Bearer key-one", "Content-Type": "application/sdp"}
    cluster, stop = CLUSTER + 2, asyncio.Event()
    async with (
        serving(reporting) as voice,
        serving(reporting) as lab,
        ClientSession(headers=headers) as client,
    ):
        pair = [
            settings_for(
                redis_server,
                cluster=cluster,
                transceiver_backends=f"voice=127.0.0.1:{voice.port},lab=127.0.0.1:{lab.port}",
                transceiver_limits="model/voice: calls=1; model/lab: calls=1",
            )
            for _ in range(2)
        ]
        processes = [asyncio.create_task(run(settings, stop)) for settings in pair]
        one, other = (f"http://{settings.transceiver_http}" for settings in pair)
        for settings in pair:
            await until_serving(settings)
        locations = [await placed(client, one), await placed(client, other)]
        for url in (one, other):
            async with client.post(f"{url}/whip", data=real_offer()) as refused:
                assert refused.status == 429
                assert refused.headers["Retry-After"]
                assert (await refused.json(content_type=None))["code"] == "limit_calls"
        assert await charged(redis_server, cluster) == {
            "model/voice": Usage("model/voice", 1, 42),
            "model/lab": Usage("model/lab", 1, 42),
        }
        await client.delete(one + locations[0])
        locations[0] = await placed(client, other)
        for location in locations:
            await client.delete(other + location)
        stop.set()
        await asyncio.gather(*processes)


async def reporting(call: Call) -> None:
    """An echo that has used 42 tokens."""
    call.report_usage(input_tokens=42)
    await echo(call)


async def charged(redis: RedisServer, cluster: int) -> dict[str, Usage]:
    """What models use, once tokens were charged to two of them: that is done in lots."""
    ledger = RedisLedger(redis.url, cluster, token_ring)
    while True:
        found = {used.subject: used for used in await ledger.usage()}
        models = {subject: used for subject, used in found.items() if subject.startswith("model/")}
        if sum(used.tokens > 0 for used in models.values()) == 2:
            await ledger.close()
            return models


async def placed(client: ClientSession, url: str) -> str:
    """The path of a new call; tries again while the backend connects or a place comes back."""
    while True:
        async with client.post(f"{url}/whip", data=real_offer()) as response:
            if response.status == 201:
                return str(response.headers["Location"])


async def test_an_expired_admin_certificate_is_said_before_anything_happens(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """With the variable and the day; no lease was taken."""
    certificate, key = Authority(tmp_path).issue("server", lasts=timedelta(days=-1))
    settings = settings_for(redis_server, admin_tls_cert=certificate, admin_tls_key=key)
    with pytest.raises(BadCertificate, match="TRUNKLINE_ADMIN_TLS_CERT: expired on"):
        await run(settings, asyncio.Event())
