"""A benchmark that starts all that it needs: what it gets and returns, and its command."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

import grpc.aio
import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Check, Progress, Result
from loadtest.report import print_result, progress_bar

MAX_RUNS = 100
MAX_SECONDS = 60.0


@dataclass(frozen=True)
class Bounds:
    """How often everything is measured, in turns, and how long each time."""

    runs: int
    seconds: float


@dataclass(frozen=True)
class Benchmark:
    """A named measurement; it starts and ends everything it needs itself."""

    name: str
    summary: str
    run: Callable[[Bounds, Progress], Awaitable[Result]]
    defaults: Bounds


def add_benchmarks(app: typer.Typer, benchmarks: Iterable[Benchmark]) -> None:
    """Give each benchmark its command."""
    for benchmark in benchmarks:
        _add_command(app, benchmark)


def _add_command(app: typer.Typer, benchmark: Benchmark) -> None:
    defaults = benchmark.defaults

    @app.command(benchmark.name, help=benchmark.summary, short_help=benchmark.summary)
    def command(
        runs: Annotated[
            int, typer.Option(min=1, max=MAX_RUNS, help="Runs, of which the median counts.")
        ] = defaults.runs,
        seconds: Annotated[
            float, typer.Option(min=0.2, max=MAX_SECONDS, help="Seconds of one measurement.")
        ] = defaults.seconds,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line.")
        ] = False,
    ) -> None:
        raise typer.Exit(execute(benchmark, Bounds(runs, seconds), as_json=as_json))


def execute(benchmark: Benchmark, bounds: Bounds, *, as_json: bool) -> int:
    """Run, print, and return the exit status: 0 when every bar was reached, else 1."""
    try:
        result = asyncio.run(_run(benchmark, bounds))
    except (StartupError, grpc.aio.AioRpcError) as error:
        text = str(error) if isinstance(error, StartupError) else f"relay: admin {error.code()}"
        print(text, file=sys.stderr)
        if as_json:
            print(json.dumps({"scenario": benchmark.name, "passed": False, "error": text}))
        return 1
    print_result(benchmark.name, result, Console())
    if as_json:
        print(json.dumps(result.as_json(benchmark.name)))
    return 0 if result.passed else 1


async def _run(benchmark: Benchmark, bounds: Bounds) -> Result:
    with progress_bar(bounds.runs) as progress:
        return await benchmark.run(bounds, progress)


def at_least(name: str, measured: float, bar: float) -> Check:
    """A bar that must be reached; the detail says both."""
    return Check(name, measured >= bar, f"{measured:.4g}, bar: at least {bar:g}")


def at_most(name: str, measured: float, bar: float) -> Check:
    """A bar that must not be passed; the detail says both."""
    return Check(name, measured <= bar, f"{measured:.4g}, bar: at most {bar:g}")
