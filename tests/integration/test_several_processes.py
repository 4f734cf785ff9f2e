"""A whole stack whose transceiver is two processes: real handshakes and media through the relay."""

from __future__ import annotations

import asyncio

import aiohttp

from launcher import Stack, StackSettings
from loadtest.media_bench.crowd import Crowd
from loadtest.media_bench.links import UdpLink
from loadtest.media_bench.speech import speech
from loadtest.target import Target
from tests.conftest import free_port
from transceiver.call.call_id import origin_of

CALLERS = 6
TIMEOUT_S = 30.0


async def test_callers_of_both_hear_themselves() -> None:
    """The relay finds each call's process by its token; every frame comes back, none is lost."""
    variables = {
        "TRUNKLINE_TRANSCEIVER_PROCESSES": "2",
        "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
        "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_LOG_LEVEL": "warning",
    }
    link = UdpLink()
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        Stack(StackSettings(variables)) as stack,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        crowd = Crowd(session, Target(stack.console_url, stack.api_key), link, speech())
        async with asyncio.timeout(TIMEOUT_S):
            while len({owner(line.answer.call_url) for line in crowd.lines}) < 2:
                await crowd.grow_to(len(crowd.lines) + CALLERS)
        trial = await crowd.measure(len(crowd.lines), 0.5)
        assert (trial.measured.lost, trial.measured.foreign) == (0, 0)
        assert trial.measured.frames == len(crowd.lines) * 25
        await crowd.shrink_to(0)
        page = await (await session.get(f"{stack.console_url}/metrics")).text()
    link.close()
    ended = [line for line in page.splitlines() if 'event="call_ended_hangup"' in line]
    assert len(ended) == 2


def owner(call_url: str) -> int:
    origin = origin_of(call_url.rpartition("/")[2])
    assert origin is not None
    return origin.process
