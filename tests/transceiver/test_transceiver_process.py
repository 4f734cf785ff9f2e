"""The whole process on free ports, with a real Redis and no backend."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc.aio
import pytest
from aiohttp import ClientSession
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.errors import AddressInUse
from fleet.redis_store import RedisStore
from tests.conftest import RedisServer, free_port
from tests.transceiver.offers import real_offer
from transceiver.__main__ import run
from transceiver.settings import TransceiverSettings

CLUSTER = 77


def settings_for(redis: RedisServer, **others: object) -> TransceiverSettings:
    """Settings with free ports on loopback."""
    values: dict[str, Any] = {
        "cluster": CLUSTER,
        "token_keys": "1:" + "11" * 32,
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
    store = RedisStore(redis_server.url, CLUSTER)
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
