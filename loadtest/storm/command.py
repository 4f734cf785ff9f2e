"""`loadtest storm`: a full transceiver, callers that stay, callers that come and go, and a crowd.

Three generator processes, so that the crowd's requests do not delay the callers that are measured:

    residents   half of the places, to the end; their lateness is what the storm may not change
    regulars    the other half, call after call; refused, they wait as they are told
    naive       nine times as many, for the length of the storm; refused, they ask again at once
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from launcher import StartupError
from launcher.addresses import LOOPBACK
from loadtest.benchmark import Result
from loadtest.live.order import Mix, Order, Point, Retry
from loadtest.live.tally import Tally
from loadtest.report import print_result
from loadtest.scenario_runs.generators import GeneratorProcess, generators
from loadtest.stand import Shape, Stand
from loadtest.storm.backend import CountedBackend, counted_backend
from loadtest.storm.verdict import Seen, Storm, judge
from trunkline.process.address import Address

FILL_S = 6
CALM_S = 12
END_S = 2
NAIVE_PATIENCE_S = 5.0
DEAD_AFTER_S = 8


def storm_command(
    capacity: Annotated[int, typer.Option(min=4, max=1000, help="Calls that fit.")] = 40,
    call_s: Annotated[float, typer.Option(min=1, max=600, help="Length of a call.")] = 4.0,
    times: Annotated[int, typer.Option(min=2, max=100, help="The offered load.")] = 10,
    seconds: Annotated[int, typer.Option(min=5, max=600, help="Length of the storm.")] = 30,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Ten times the load from clients that retry at once; live calls must not notice."""
    start_s = FILL_S + CALM_S
    storm = Storm(capacity, capacity // 2, call_s, times, FILL_S, start_s, start_s + seconds)
    try:
        result = asyncio.run(run_storm(storm))
    except StartupError as error:
        print(json.dumps({"scenario": "storm", "passed": False, "error": str(error)}))
        raise typer.Exit(1) from None
    print_result("storm", result, Console())
    if as_json:
        print(json.dumps(result.as_json("storm")))
    raise typer.Exit(0 if result.passed else 1)


async def run_storm(storm: Storm) -> Result:
    """Run it. Raises StartupError."""
    async with counted_backend(storm.capacity) as backend:
        async with Stand(_shape(storm, backend)) as stand:
            orders = _orders(storm, stand)
            async with generators(orders) as started:
                start_s = float(int(time.time()) + 2)
                for generator in started:
                    generator.begin(start_s)
                residents, regulars, naive = await asyncio.gather(*(_all(one) for one in started))
        at_s, end_s = start_s + storm.at_s, start_s + storm.end_s
        started_calls = backend.started_between(at_s, end_s)
        return judge(storm, Seen(residents, regulars, naive, started_calls, backend.most))


def _shape(storm: Storm, backend: CountedBackend) -> Shape:
    return Shape(
        backends=0,
        variables={
            "TRUNKLINE_TRANSCEIVER_MAX_CALLS": str(storm.capacity),
            "TRUNKLINE_TRANSCEIVER_BACKENDS": f"counted={Address(LOOPBACK, backend.port)}",
        },
    )


def _orders(storm: Storm, stand: Stand) -> list[Order]:
    stay = (Point(at_s=0, calls=0), Point(at_s=FILL_S / 2, calls=storm.residents))
    regulars = storm.capacity - storm.residents
    turn = (Point(at_s=0, calls=0), Point(at_s=FILL_S / 2, calls=regulars))
    # Up and down within a tenth of a second: storms do not announce themselves.
    rush = (
        Point(at_s=storm.at_s, calls=0),
        Point(at_s=storm.at_s + 0.1, calls=storm.naive),
        Point(at_s=storm.end_s, calls=storm.naive),
        Point(at_s=storm.end_s + 0.1, calls=0),
    )
    short = Mix(name="short", call_s=storm.call_s, call_length="fixed")
    naive = Retry(policy="at_once", patience_s=NAIVE_PATIENCE_S)
    return [
        _order(storm, stand, stay, Mix(name="resident"), Retry()),
        _order(storm, stand, turn, short, Retry()),
        _order(storm, stand, rush, short, naive),
    ]


def _order(storm: Storm, stand: Stand, ramp: Sequence[Point], mix: Mix, retry: Retry) -> Order:
    return Order(
        urls=tuple(target.url for target in stand.targets),
        api_key=stand.targets[0].api_key,
        ramp=tuple(ramp),
        mixes=(mix,),
        retry=retry,
        seconds=storm.end_s + END_S,
        dead_after_s=DEAD_AFTER_S,
    )


async def _all(generator: GeneratorProcess) -> list[Tally]:
    return [tally async for tally in generator.tallies()]
