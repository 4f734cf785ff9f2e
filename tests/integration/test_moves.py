"""Processes drain and end under live callers: their calls move, and every caller goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from launcher import Stack, StackSettings
from tests.conftest import free_port
from tests.integration.survivors import ROOT, Survivors, family, other_pod, survivors

CALLERS = 6


def settings(processes: int) -> StackSettings:
    return StackSettings(
        {
            "TRUNKLINE_TRANSCEIVER_PROCESSES": str(processes),
            "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
            "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port(successors=1)}",
            "TRUNKLINE_TRANSCEIVER_LEARN_CAPACITY": "false",
            "TRUNKLINE_TRANSCEIVER_DRAIN_S": "60",
            "TRUNKLINE_LOG_LEVEL": "info",
        },
        ready_timeout_s=90.0,
    )


async def trunkline(stack: Stack, *words: str) -> Any:
    """What the command line says, as JSON."""
    admin = stack.variables["TRUNKLINE_TRANSCEIVER_ADMIN"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "--admin", admin, "--json", *words),
        cwd=ROOT,
        env=os.environ.copy(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def where(stack: Stack) -> dict[str, list[str]]:
    """The calls of each node, by name."""
    found: dict[str, list[str]] = {}
    for row in await trunkline(stack, "calls"):
        found.setdefault(row["node"], []).append(row["call"]["call_id"])
    return found


def nothing_twice(callers: Survivors) -> None:
    """No caller heard what did not open, and none heard a packet number twice."""
    for ear in callers.ears.values():
        assert ear.unopened == 0
        assert len(set(ear.sequences)) == len(ear.sequences)
    print(f"the longest silences: {[round(1000 * gap) for gap in callers.gaps_s]} ms")  # noqa: T201


async def test_an_operator_drains_moves_and_evens_out() -> None:
    """`drain` empties a process into its neighbour, `call move` and `rebalance` bring some back."""
    async with Stack(settings(2)) as stack, survivors(stack) as callers:
        await callers.place(CALLERS)
        first = max((await where(stack)).items(), key=lambda found: len(found[1]))[0]
        await trunkline(stack, "drain", first, "--wait")
        [(second, calls)] = (await where(stack)).items()
        assert second != first
        assert len(calls) == CALLERS
        await callers.all_hear(50)
        await trunkline(stack, "drain", first, "--undo")
        moved = await trunkline(stack, "call", "move", calls[0], first)
        assert moved["node"] == first
        balanced = await trunkline(stack, "rebalance", "--rate", "20")
        assert balanced["moved"] == balanced["planned"]
        assert sorted(map(len, (await where(stack)).values())) == [CALLERS // 2, CALLERS // 2]
        await callers.all_hear(50)
        nothing_twice(callers)


async def test_a_pod_ends_and_another_has_its_calls() -> None:
    """SIGTERM: nobody is dismissed, and the pod is gone long before its deadline."""
    async with Stack(settings(2)) as stack, other_pod(stack) as pod, survivors(stack) as callers:
        await callers.place(CALLERS)
        parent, *_ = family(stack.parts["transceiver"].pid)
        os.kill(parent, signal.SIGTERM)
        async with asyncio.timeout(60):
            while await pod.counter("move_taken_in") < CALLERS:
                await asyncio.sleep(0.05)
        await callers.all_hear(100)
        nothing_twice(callers)
        assert await pod.counter("calls_taken_over") == 0
