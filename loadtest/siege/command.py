"""`loadtest siege`: every hostile peer in turn, then all of them together, beside live callers.

    fill ─ calm ─ attack ─ calm ─ attack ─ … ─ calm ─ all together ─ end

Lateness is compared with that of the calm seconds between the attacks: one run, the same processes,
the same machine. The live callers are another process than the attackers.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from fleet.ending import ending
from launcher import StartupError
from loadtest.benchmark import Result
from loadtest.callers.dtls import Identity
from loadtest.live.order import Mix, Order, Point
from loadtest.live.tally import Tally
from loadtest.report import print_result
from loadtest.residue import family
from loadtest.scenario_runs.generators import GeneratorProcess, generators
from loadtest.siege.attackers import ATTACKS
from loadtest.siege.attackers.backend import NAME, hostile_backend
from loadtest.siege.ground import Ground
from loadtest.siege.log import CountedLog
from loadtest.siege.verdict import TOGETHER, Seen, Stretch, judge
from loadtest.stand import Shape, Stand

FILL_S, CALM_S, END_S = 6, 3, 3
TOGETHER_TIMES = 2
"""How much longer all of them together attack than each by itself."""
DEAD_AFTER_S = 6.0
CALLS = 16


def siege_command(
    seconds: Annotated[int, typer.Option(min=3, max=600, help="Length of each attack.")] = 6,
    calls: Annotated[int, typer.Option(min=1, max=200, help="Live calls beside it.")] = CALLS,
    only: Annotated[
        list[str] | None, typer.Option(help="An attack by name; may stand more than once.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Live callers beside every hostile peer, in turn and then together: they must not notice."""
    names = only or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        known = ", ".join(ATTACKS)
        raise typer.BadParameter(f"no attack {', '.join(unknown)}; there are {known}")
    try:
        result = asyncio.run(lay(names, seconds, calls))
    except StartupError as error:
        print(json.dumps({"scenario": "siege", "passed": False, "error": str(error)}))
        raise typer.Exit(1) from None
    print_result("siege", result, Console())
    if as_json:
        print(json.dumps(result.as_json("siege")))
    raise typer.Exit(0 if result.passed else 1)


async def lay(names: Sequence[str], seconds: int, calls: int) -> Result:
    """Run it. Raises StartupError."""
    live_key, key, log = secrets.token_hex(16), secrets.token_hex(16), CountedLog()
    async with hostile_backend() as port:
        shape = Shape(
            guest_backend=f"{NAME}=127.0.0.1:{port}",
            variables={"TRUNKLINE_TRANSCEIVER_API_KEYS": f"live:{live_key},hostile:{key}"},
        )
        async with Stand(shape, log) as stand:
            ground = Ground(stand, key, Identity.make())
            plan = timetable(names, seconds)
            order = _order(stand, live_key, calls, plan[-1].end_s + END_S)
            async with generators([order]) as (generator,):
                seen = await _besiege(ground, generator, plan, log)
    for line in () if not log.tracebacks else log.found[:5]:
        print(line.strip(), file=sys.stderr)
    return judge(seen)


def timetable(names: Sequence[str], seconds: int) -> list[Stretch]:
    """Calm and attack in turn, all attacks together at the end."""
    plan, at = [], FILL_S
    for name in [*names, *([TOGETHER] if len(names) > 1 else [])]:
        plan.append(Stretch("", at, at + CALM_S))
        at += CALM_S
        length = seconds * (TOGETHER_TIMES if name == TOGETHER else 1)
        plan.append(Stretch(name, at, at + length))
        at += length
    plan.append(Stretch("", at, at + CALM_S))
    return plan


def _order(stand: Stand, key: str, calls: int, seconds: int) -> Order:
    return Order(
        urls=tuple(target.url for target in stand.targets),
        api_key=key,
        ramp=(Point(at_s=0, calls=0), Point(at_s=FILL_S / 2, calls=calls)),
        mixes=(Mix(name="live"),),
        seconds=seconds,
        dead_after_s=DEAD_AFTER_S,
    )


async def _besiege(
    ground: Ground, generator: GeneratorProcess, plan: Sequence[Stretch], log: CountedLog
) -> Seen:
    start_s = float(int(time.time()) + 2)
    generator.begin(start_s)
    listening = asyncio.create_task(_all(generator))
    async with ending() as running:
        running.append(listening)
        await asyncio.sleep(max(0.0, start_s + FILL_S - time.time()))
        before = _pids(ground)
        names = list(dict.fromkeys(s.attack for s in plan if s.attack not in ("", TOGETHER)))
        for stretch in plan:
            await _attack(ground, stretch, names, start_s)
        restarted = len(before - _pids(ground))
        tallies = await listening
    return Seen(
        tallies=tallies,
        stretches=plan,
        restarted=max(restarted, sum(k.restarts for k in ground.stand.keepers.values())),
        tracebacks=log.tracebacks,
        strangers_bytes=ground.strangers_bytes,
        amplification=ground.amplification,
        done=ground.done,
    )


async def _attack(ground: Ground, stretch: Stretch, every: Sequence[str], start_s: float) -> None:
    """Whatever this stretch is for, until it is over."""
    names = every if stretch.attack == TOGETHER else [stretch.attack]
    async with ending() as running:
        running += [asyncio.create_task(ATTACKS[name](ground)) for name in names if name]
        left_s = max(0.0, start_s + stretch.end_s - time.time())
        done, _ = await asyncio.wait(running, timeout=left_s) if running else (set(), set())
        for task in done:
            task.result()  # an attacker that broke is our mistake, not the defender's
        await asyncio.sleep(max(0.0, start_s + stretch.end_s - time.time()))


def _pids(ground: Ground) -> set[int]:
    """Every process that carries calls."""
    return {pid for name in ground.parts() for pid in family(ground.stand.keepers[name].pid)}


async def _all(generator: GeneratorProcess) -> list[Tally]:
    return [tally async for tally in generator.tallies()]
