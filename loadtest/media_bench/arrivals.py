"""Calls that come at a steady rate, whatever became of earlier ones; a process of its own.

A process, because the handshakes of the callers would hold up the generator of the live calls.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import aiohttp

from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.errors import CallFailedError
from loadtest.media_bench.speech import speech
from loadtest.target import Target

CALL_TIMEOUT_S = 5.0
NICE = 10
PACKETS = 12
"""More than stock aiortc's jitter buffer wants to see before it lets the first one go."""


@dataclass
class Arrivals:
    """What the calls saw: ms from POST to the first echo, failures by reason, our own CPU."""

    setup_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


async def one_after_another(target: Target, count: int) -> Arrivals:
    """Place calls with nothing else going on."""
    seen, identity, packets = Arrivals(), Identity.make(), speech()[:PACKETS]
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            await _place(session, target, identity, packets, seen)
    return seen


async def at_rate(target: Target, calls_per_s: float, seconds: float, at_once: int = 1) -> Arrivals:
    """Place calls at a rate from another process; returns when the last one is over.

    `at_once` of them come at one moment, and then nobody until it is time for as many again.
    """
    loop = asyncio.get_running_loop()
    arguments = (target.url, target.api_key, calls_per_s, seconds, at_once)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return await loop.run_in_executor(pool, _run, *arguments)


def _run(url: str, api_key: str, calls_per_s: float, seconds: float, at_once: int) -> Arrivals:
    # Its handshakes must not hold up the backend and the generator, which share its core: they
    # would make the live calls late, and the engine would be blamed.
    os.nice(NICE)
    seen = asyncio.run(_arrive(Target(url, api_key), calls_per_s, seconds, at_once))
    seen.cpu_s = time.process_time()
    return seen


async def _arrive(target: Target, calls_per_s: float, seconds: float, at_once: int) -> Arrivals:
    seen, identity, packets = Arrivals(), Identity.make(), speech()[:PACKETS]
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as calls:
        for number in range(round(calls_per_s * seconds)):
            due_s = started_s + number // at_once * at_once / calls_per_s
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            calls.create_task(_place(session, target, identity, packets, seen))
    return seen


async def _place(
    session: aiohttp.ClientSession,
    target: Target,
    identity: Identity,
    packets: list[bytes],
    seen: Arrivals,
) -> None:
    caller = LightCaller(session, target, identity, packets, echoes=1)
    try:
        await caller.place(CALL_TIMEOUT_S)
    except CallFailedError as error:
        seen.failures[error.reason] += 1
    if caller.setup_ms is not None:
        seen.setup_ms.append(caller.setup_ms)
