"""`loadtest stall`: live callers, processes that stand still, and how late sound is afterwards.

Six kinds of call through one relay and one transceiver, each as Opus and as PCM: the caller's own
voice echoed, a backend that talks in real time, and one that sends whole answers ahead. Then a
relay's worker stands still for 0.3, 1 and 3 s and ten times in a row, and the transceiver as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated

import aiohttp
import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Result
from loadtest.callers.dtls import Identity
from loadtest.errors import CallFailedError
from loadtest.report import print_result
from loadtest.stall import speech
from loadtest.stall.backends import ECHO, FORMATS, RECITE, TALK, serving
from loadtest.stall.listener import Listener, listening
from loadtest.stall.measure import WINDOWS_S
from loadtest.stall.stops import AFTER_S, QUIET_S, Stop, all_stops, carry_out
from loadtest.stall.verdict import judge
from loadtest.stand import Shape, Stand

SETTLE_S = 1.0  # from the last call's set-up to the first word
WARM_UP_S = 3.0
LAST_ANSWER_S = speech.LOOP_S + 3.0


def stall_command(
    calls: Annotated[int, typer.Option(min=1, max=20, help="Calls of each kind.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Processes stand still; two seconds later live sound is on time again, and nothing clicks."""
    try:
        result = asyncio.run(run(calls, list(all_stops())))
    except (StartupError, CallFailedError) as error:
        print(json.dumps({"scenario": "stall", "passed": False, "error": str(error)}))
        raise typer.Exit(1) from None
    print_result("stall", result, Console())
    if as_json:
        print(json.dumps(result.as_json("stall")))
    raise typer.Exit(0 if result.passed else 1)


async def run(calls: int, stops: Sequence[Stop]) -> Result:
    """Do it. Raises StartupError, CallFailedError."""
    speech.packets(), speech.pcm()  # encoding takes a while
    listeners = [
        Listener(name, manner)
        for name in FORMATS
        for manner in (ECHO, TALK, RECITE)
        for _ in range(calls)
    ]
    async with serving() as backends:
        shape = Shape(backends=0, variables={"TRUNKLINE_TRANSCEIVER_BACKENDS": backends.setting})
        async with Stand(shape) as stand, AsyncExitStack() as lines:
            http = await lines.enter_async_context(aiohttp.ClientSession())
            identity = Identity.make()
            for listener in listeners:
                line = listening(http, stand.targets[0], identity, listener, backends.begin)
                await lines.enter_async_context(line)
            await asyncio.sleep(SETTLE_S)
            backends.begin.set()
            await asyncio.sleep(WARM_UP_S)
            stopped = []
            for stop in stops:
                await asyncio.sleep(QUIET_S)
                stopped.append(await carry_out(stop, stand))
                await asyncio.sleep(AFTER_S + WINDOWS_S[-1])
            backends.reciting = False
            await asyncio.sleep(LAST_ANSWER_S)
    return await asyncio.to_thread(judge, listeners, stopped, backends.recited)
