"""Faults planted into a whole fleet of real processes: the doctor finds each and names the cure."""

from __future__ import annotations

import asyncio
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.finding import Finding
from tests.cli.kit import Patient, fleet
from tests.conftest import RedisServer, free_port
from tests.fleet.certificates import Authority
from trunkline.v1 import admin_pb2


def ills(found: list[Finding], check: str) -> list[Finding]:
    """What is wrong by one check; every one of it comes with a cure."""
    assert all(finding.cure for finding in found if finding.good is False)
    return [finding for finding in found if finding.check == check and finding.good is False]


def the_ill(found: list[Finding], check: str) -> Finding:
    (only,) = ills(found, check)
    return only


async def test_a_healthy_fleet_has_nothing(patient: Patient) -> None:
    """Every check that can be made is made, and none finds anything; the probe call is gone."""
    found = await patient.examined()
    assert [finding for finding in found if finding.good is False] == []
    good = {finding.check for finding in found if finding.good}
    assert good == {"redis", "ports", "nodes", "relays", "backends", "clock", "call", "stun"}
    async with patient.here.reach.process(patient.here.reach.transceiver) as process:
        assert await process.calls() == []


async def test_redis_unreachable(patient: Patient) -> None:
    """1: nobody listens there."""
    found = await patient.examined(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    ill = the_ill(found, "redis")
    assert "cannot be reached (connection refused)" in ill.saw
    assert "host and port in TRUNKLINE_REDIS_URL" in ill.cure


async def test_redis_wrong_password(patient: Patient, make_redis: Any) -> None:
    """2: it listens, and lets nobody in with that; the password is in no finding."""
    locked: RedisServer = make_redis("--requirepass", "right")
    found = await patient.examined(redis_url=f"redis://:wr0ng@127.0.0.1:{locked.port}/0")
    ill = the_ill(found, "redis")
    assert "refused the user or password" in ill.saw
    assert "password in TRUNKLINE_REDIS_URL" in ill.cure
    assert "wr0ng" not in str(found)


async def test_clock_skew(patient: Patient) -> None:
    """3: this machine is a minute behind Redis and every process."""
    found = await patient.examined(unix_s=lambda: time.time() - 60)
    wrong = ills(found, "clock")
    assert len(wrong) == 4
    assert all("60 s ahead of" in ill.saw and "NTP" in ill.cure for ill in wrong)


async def test_nothing_listens_at_the_url(patient: Patient) -> None:
    """4: no transceiver behind the HTTP port."""
    found = await patient.examined(url=f"http://127.0.0.1:{free_port()}")
    assert "TRUNKLINE_TRANSCEIVER_HTTP" in the_ill(found, "ports").cure
    assert the_ill(found, "call").saw == "no HTTP answer"


async def test_a_relay_is_down(patient: Patient) -> None:
    """5: its admin port and its public port are silent."""
    await patient.stack.stop_part("relay")
    found = await patient.examined()
    assert "cannot be reached" in the_ill(found, "relays").saw
    assert "start it" in the_ill(found, "relays").cure
    assert "reached a relay" in the_ill(found, "stun").saw


async def test_everybody_drains(patient: Patient) -> None:
    """6: nobody takes calls, and the way back is a command."""
    async with patient.here.reach.process(patient.here.reach.transceiver) as process:
        await process.drain(deadline_s=0, undo=False, why="test")
    found = await patient.examined()
    assert "--undo" in the_ill(found, "nodes").cure
    assert the_ill(found, "call").saw == "the transceiver drains"


@pytest.mark.parametrize(("ring", "number"), [("token", 7), ("trunk", 8)])
async def test_keys_that_differ(patient: Patient, ring: str, number: int) -> None:
    """7 and 8: the relay has other keys than the transceiver, under the same ids."""
    request = admin_pb2.RotateKeysRequest()
    setattr(request, f"{ring}_keys", f"1:{secrets.token_hex(32)}")
    async with patient.here.reach.process(patient.here.reach.relays[0]) as relay:
        await relay.rotate(request)
    ill = the_ill(await patient.examined(), "stun")
    assert f"TRUNKLINE_{ring.upper()}_KEYS" in ill.cure, number


async def test_the_backend_is_away(patient: Patient) -> None:
    """9: calls are refused because of it."""
    await patient.stack.stop_part("backend")
    found = await patient.examined()
    assert "start it" in the_ill(found, "backends").cure
    ill = the_ill(found, "call")
    assert "no model backend" in ill.saw
    assert "TRUNKLINE_TRANSCEIVER_BACKEND" in ill.cure


async def test_an_expired_certificate(patient: Patient, tmp_path: Path) -> None:
    """10: with the day it expired; one that is about to is found too."""
    authority = Authority(tmp_path)
    for lasts, word in ((timedelta(days=-1), "expired on"), (timedelta(days=3), "expires in")):
        certificate, _ = authority.issue("server", lasts=lasts)
        ill = the_ill(await patient.examined(certificate=certificate), "certificate")
        assert word in ill.saw
        assert "renew it" in ill.cure


async def test_a_wrong_api_key(patient: Patient) -> None:
    """11: the key of the doctor itself."""
    found = await patient.examined(api_key="nobody's")
    assert "TRUNKLINE_TRANSCEIVER_API_KEYS" in the_ill(found, "call").cure


async def test_a_relay_address_that_leads_nowhere(redis_url: str) -> None:
    """12: answers name a port where no relay is."""
    nowhere = f"127.0.0.1:{free_port()}"
    async with fleet(redis_url, TRUNKLINE_TRANSCEIVER_RELAYS=nowhere) as patient:
        ill = the_ill(await patient.examined(), "stun")
        assert nowhere in ill.saw
        assert "TRUNKLINE_TRANSCEIVER_RELAYS" in ill.cure


async def test_the_port_belongs_to_somebody_else(patient: Patient) -> None:
    """13: something answers HTTP there, and it is no transceiver."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await patient.examined(url=f"http://127.0.0.1:{port}")
    assert "is not a transceiver" in the_ill(found, "ports").saw
