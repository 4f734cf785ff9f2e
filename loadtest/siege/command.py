"""`loadtest siege`: every hostile peer in turn, then all of them together, beside live callers.

    fill ─ idle ─ attack ─ calm ─ attack ─ calm ─ … ─ all together ─ calm ─ end

Lateness is compared with that of the calm seconds: one run, the same processes, the same machine.
In these the attackers' process does no harm and takes as much of a core as in the attack before, so
that the ratio speaks of the attack and not of the number of cores. The live callers are another
process, which nobody starves: attackers have the lowest priority (`stepping_back`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Annotated

import typer
from rich.console import Console

from fleet.ending import ending
from launcher import StartupError
from loadtest.benchmark import Result
from loadtest.live.order import Mix, Order, Point
from loadtest.live.tally import Tally
from loadtest.report import print_result
from loadtest.residue import family
from loadtest.scenario_runs.generators import GeneratorProcess, generators
from loadtest.siege.attackers import ATTACKS
from loadtest.siege.attackers.backend import NAME
from loadtest.siege.attackers.machine import STUCK
from loadtest.siege.camp import Camp, camp
from loadtest.siege.ground import Map, carriers
from loadtest.siege.log import CountedLog
from loadtest.siege.notes import Notes
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
    async with camp() as attackers:
        shape = Shape(
            guest_backend=f"{NAME}=127.0.0.1:{attackers.port}",
            variables={"TRUNKLINE_TRANSCEIVER_API_KEYS": f"live:{live_key},hostile:{key}"},
        )
        async with Stand(shape, log) as stand:
            attackers.show(Map.of(stand, key))
            plan = timetable(names, seconds)
            order = _order(stand, live_key, calls, plan[-1].end_s + END_S)
            async with generators([order]) as (generator,):
                seen = await _besiege(stand, attackers, generator, plan, log)
    for line in () if not log.tracebacks else log.found[:5]:
        print(line.strip(), file=sys.stderr)
    return judge(seen)


def timetable(names: Sequence[str], seconds: int) -> list[Stretch]:
    """Idle seconds; then an attack and calm in turn, all attacks together at the end."""
    at = FILL_S + CALM_S
    plan = [Stretch("", FILL_S, at)]
    for name in [*names, *([TOGETHER] if len(names) > 1 else [])]:
        length = seconds * (TOGETHER_TIMES if name == TOGETHER else 1)
        plan.append(Stretch(name, at, at + length))
        at += length
        calm_s = CALM_S * (TOGETHER_TIMES if name == TOGETHER else 1)
        plan.append(Stretch("", at, at + calm_s))
        at += calm_s
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
    stand: Stand,
    attackers: Camp,
    generator: GeneratorProcess,
    plan: Sequence[Stretch],
    log: CountedLog,
) -> Seen:
    start_s = float(int(time.time()) + 2)
    generator.begin(start_s)
    listening = asyncio.create_task(_all(generator))
    async with ending() as running:
        running.append(listening)
        await asyncio.sleep(max(0.0, start_s + FILL_S - time.time()))
        before = _pids(stand)
        notes = await _attacks(stand, attackers, plan, start_s)
        restarted = len(before - _pids(stand))
        tallies = await listening
    return Seen(
        tallies=tallies,
        stretches=plan,
        restarted=max(restarted, sum(k.restarts for k in stand.keepers.values())),
        tracebacks=log.tracebacks,
        notes=notes,
        least_per_s={name: attack.least_per_s for name, attack in ATTACKS.items()},
    )


async def _attacks(
    stand: Stand, attackers: Camp, plan: Sequence[Stretch], start_s: float
) -> list[Notes]:
    """One stretch after another: what was noted to the end of each."""
    every = list(dict.fromkeys(s.attack for s in plan if s.attack not in ("", TOGETHER)))
    ends = []
    for stretch in plan:
        names = every if stretch.attack == TOGETHER else [stretch.attack] if stretch.attack else []
        ends.append(await attackers.attack(names))
        with _unread(stand) if STUCK in names else nullcontext():
            await asyncio.sleep(max(0.0, start_s + stretch.end_s - time.time()))
    return [*ends[1:], await attackers.attack([])]


@contextmanager
def _unread(stand: Stand) -> Iterator[None]:
    """Read nothing of what the processes log."""
    with ExitStack() as held:
        for name in carriers(stand):
            held.enter_context(stand.keepers[name].output_held())
        yield


def _pids(stand: Stand) -> set[int]:
    """Every process that carries calls."""
    return {pid for name in carriers(stand) for pid in family(stand.keepers[name].pid)}


async def _all(generator: GeneratorProcess) -> list[Tally]:
    return [tally async for tally in generator.tallies()]
