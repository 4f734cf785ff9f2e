"""Processes are killed and stopped under live callers; all go on, and nobody hears the dead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from launcher import Stack, StackSettings
from tests.conftest import free_port
from tests.integration.survivors import family, survivors
from transceiver.call.call_id import origin_of

CALLERS = 6


def settings(processes: int) -> StackSettings:
    return StackSettings(
        {
            "TRUNKLINE_TRANSCEIVER_PROCESSES": str(processes),
            "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
            "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port(successors=1)}",
            "TRUNKLINE_LOG_LEVEL": "info",
        }
    )


def end(pids: Iterable[int], how: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        os.kill(pid, how)


def process_of(call_url: str) -> int:
    origin = origin_of(call_url.rpartition("/")[2])
    assert origin is not None
    return origin.process


async def test_a_process_of_a_pod_is_killed() -> None:
    """Its neighbour has its calls a moment later, and every caller goes on."""
    async with Stack(settings(2)) as stack, survivors(stack) as callers:
        lines = await callers.place(CALLERS)
        while len({process_of(line.answer.call_url) for line in lines}) < 2:
            lines = await callers.place(len(lines) + CALLERS)
        _, *children = family(stack.parts["transceiver"].pid)
        assert len(children) == 2
        end(children[:1])
        await callers.all_hear(100)
