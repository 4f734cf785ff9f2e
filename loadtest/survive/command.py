"""`loadtest survive`: live callers, and everything that can go away under them, again and again.

Two transceivers of two processes each, two backends, a relay and Redis, all of them real processes.
Each caller talks, hears a voice that never pauses, and says messages that are answered by number.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Result
from loadtest.errors import CallFailedError
from loadtest.report import print_result
from loadtest.stall import speech
from loadtest.stand import Stand
from loadtest.survive.chaos import rampage
from loadtest.survive.checkpoints import NAME, weigh
from loadtest.survive.duration import seconds_of
from loadtest.survive.faults import FAULTS, Fault, complete
from loadtest.survive.page import page
from loadtest.survive.trial import Callers, Seen, endure
from loadtest.survive.verdict import histogram, judge


def survive_command(
    calls: Annotated[int, typer.Option(min=1, max=100, help="Live callers.")] = 20,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Of each fault.")] = 25,
    only: Annotated[list[str] | None, typer.Option(help="A fault by name.")] = None,
    chaos: Annotated[
        float | None,
        typer.Option(parser=seconds_of, metavar="TIME", help="Random faults for 90s, 20m, 1h."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report there.")] = None,
    log: Annotated[
        typer.FileTextWrite | None, typer.Option(help="Write what the fleet logs there.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Servers go away under live callers: how long is the gap, and is anybody lost?"""
    every = [*FAULTS, NAME]
    names = only or every
    if unknown := set(names) - set(every):
        known = ", ".join(every)
        raise typer.BadParameter(f"no fault {', '.join(unknown)}; there are {known}")
    try:
        if chaos is not None:
            seen, result = asyncio.run(rampage(names, calls, chaos, log))
        else:
            seen, result = asyncio.run(run(names, calls, repeats, log))
    except (StartupError, CallFailedError) as error:
        print(json.dumps({"scenario": "survive", "passed": False, "error": str(error)}))
        raise typer.Exit(1) from None
    if report is not None:
        report.write_text(page(result, seen))
    print_result("survive", result, Console())
    for name, one in seen.items():
        print(f"\ngaps of {name}", *histogram(one.gaps_ms), sep="\n")
    if as_json:
        print(json.dumps(result.as_json("survive")))
    raise typer.Exit(0 if result.passed else 1)


async def run(
    names: Sequence[str], calls: int, repeats: int, log: TextIO | None = None
) -> tuple[Mapping[str, Seen], Result]:
    """Every fault on a fleet of its own. Raises StartupError, CallFailedError."""
    speech.packets()  # encoding takes a while
    seen: dict[str, Seen] = {}
    absent: dict[str, str] = {}
    faults = [name for name in names if name in FAULTS]
    for name in faults:
        try:
            seen[name] = await _endured(FAULTS[name], calls, repeats, log)
        except (CallFailedError, TimeoutError, LookupError) as error:
            absent[name] = f"the fleet did not come back: {error!r}"
    result = judge(seen, faults, absent)
    if NAME in names:
        weighed = await weigh(calls, log)
        result.figures |= weighed.figures
        result.checks += weighed.checks
    return seen, result


async def _endured(fault: Fault, calls: int, repeats: int, log: TextIO | None) -> Seen:
    async with Stand(fault.shape, log) as stand:
        await complete(stand)
        async with Callers(stand, calls * fault.crowd) as callers:
            return await endure(stand, callers, fault, max(1, repeats // fault.rarer))
