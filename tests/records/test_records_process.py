"""The whole process, as `python -m records`: it stores, says how it is, and ends clean."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import ClientSession
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.record.stream import RecordStream
from fleet.record.writer import RecordWriter
from records.store import reading
from records.store.store import Store
from tests.conftest import RedisServer, free_port
from trunkline.v1 import record_pb2 as pb
from wire.keys import KeyRing

HEX = "74" * 32


@dataclass
class Running:
    process: asyncio.subprocess.Process
    admin: int
    metrics: int

    async def until_serving(self) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.admin}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            async for answer in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return


async def launch(redis_url: str, store_url: str, **more: str) -> Running:
    ports = free_port(), free_port()
    variables = {
        "TRUNKLINE_TOKEN_KEYS": f"1:{HEX}",
        "TRUNKLINE_REDIS_URL": redis_url,
        "TRUNKLINE_RECORDS_STORE": store_url,
        "TRUNKLINE_RECORDS_ADMIN": f"127.0.0.1:{ports[0]}",
        "TRUNKLINE_RECORDS_METRICS": f"127.0.0.1:{ports[1]}",
        **more,
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TRUNKLINE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "records"),
        env={**inherited, **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    return Running(process, *ports)


async def stored(store: Store, call_id: str, events: int) -> None:
    """Return when so many events of the call are stored."""
    while True:
        with store.reading() as connection:
            row = reading.call(connection, call_id)
        if row and row["events"] == events:
            return
        await asyncio.sleep(0.05)


async def test_it_stores_says_how_it_is_and_ends(redis_url: str, store_url: str) -> None:
    """Two of them share the work; one is killed and the other goes on; SIGTERM is a clean end."""
    both = [await launch(redis_url, store_url) for _ in range(2)]
    for running in both:
        await running.until_serving()
    ring = KeyRing.parse(f"1:{HEX}")
    stream = RecordStream(redis_url, 0, lambda: ring)
    writer, store = RecordWriter(stream, "transceiver-0"), Store(store_url)
    log = writer.open("rtc_1")
    for number in range(40):
        log.tell(fault=pb.Fault(kind="A"))
        await writer.flush()
        if number == 20:
            both[0].process.kill()
            await both[0].process.wait()
    # What the killed one held is claimed after some seconds.
    await stored(store, "rtc_1", 40)
    async with (
        ClientSession() as http,
        http.get(f"http://127.0.0.1:{both[1].metrics}/metrics") as answer,
    ):
        assert "trunkline_records_well 1.0" in await answer.text()
    both[1].process.send_signal(signal.SIGTERM)
    _, errors = await both[1].process.communicate()
    assert both[1].process.returncode == 0
    assert b"Traceback" not in errors
    store.close()
    await stream.close()


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"TRUNKLINE_RECORDS_STORE": "mysql://u:secret@h/x"}, "TRUNKLINE_RECORDS_STORE: not a"),
        ({"TRUNKLINE_RECORDS_STORE": "postgresql://u:secret@127.0.0.1:1/x"}, "cannot start: Post"),
        ({"TRUNKLINE_RECORDS_STOER": "x"}, "is TRUNKLINE_RECORDS_STORE meant?"),
    ],
)
async def test_what_keeps_it_from_starting(
    make_redis: Callable[..., RedisServer], tmp_path: Path, more: dict[str, str], line: str
) -> None:
    """One line says what, and no password stands in it."""
    running = await launch(make_redis().url, f"sqlite:///{tmp_path}/r.db", **more)
    _, errors = await running.process.communicate()
    assert running.process.returncode in (1, 2)
    assert line in errors.decode()
    assert "secret" not in errors.decode()
    assert errors.count(b"\n") == 1
