"""The commands `voice`, `pauses`, `barge-in` and `voice-callers`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from launcher import Stack, StackSettings, StartupError
from loadtest.benchmark import Result
from loadtest.errors import CallFailedError
from loadtest.report import print_result
from loadtest.target import Target
from loadtest.voice_bench import callers_at_once, measure
from loadtest.voice_bench.model_servers import model_servers

MAX_TURNS = 200
MAX_CALLERS = 20


class ModelChoice(StrEnum):
    """Which models answer: the local agent's, or some that take no time, behind HTTP."""

    LOCAL = "local"
    INSTANT = "instant"


Measure = Callable[[Target, int, int], Awaitable[Result]]
Turns = Annotated[int, typer.Option(min=1, max=MAX_TURNS, help="Turns in all.")]
Callers = Annotated[int, typer.Option(min=1, max=MAX_CALLERS, help="Callers at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
ModelsOption = Annotated[ModelChoice, typer.Option(help="Whose time is on the clock.")]


def add_voice_commands(app: typer.Typer) -> None:
    """Give `app` the conversations."""

    @app.command("voice")
    def voice(
        turns: Turns = 20,
        callers: Callers = 1,
        models: ModelsOption = ModelChoice.LOCAL,
        as_json: AsJson = False,
    ) -> None:
        """Talk with the local agent: last sound said to first sound heard, stage by stage."""
        run = measure.voice if models is ModelChoice.LOCAL else measure.added
        raise typer.Exit(_execute("voice", run, (turns, callers), models, as_json=as_json))

    @app.command("pauses")
    def pauses(turns: Turns = 20, as_json: AsJson = False) -> None:
        """Pause for 400 to 700 ms in the middle of sentences: how often is the caller cut off?"""
        raise typer.Exit(
            _execute("pauses", measure.pauses, (turns, 1), ModelChoice.LOCAL, as_json=as_json)
        )

    @app.command("barge-in")
    def barge_in(
        turns: Turns = 10, models: ModelsOption = ModelChoice.LOCAL, as_json: AsJson = False
    ) -> None:
        """Talk over the answer: when does the voice stop, and what does the history keep?"""
        raise typer.Exit(
            _execute("barge-in", measure.barge_in, (turns, 1), models, as_json=as_json)
        )

    @app.command("voice-callers")
    def voice_callers(
        callers: Callers = MAX_CALLERS,
        turns: Annotated[int, typer.Option(min=1, max=20, help="Turns of each.")] = 4,
        as_json: AsJson = False,
    ) -> None:
        """How many callers at once does the local agent answer in time, on one core?"""
        bounds = (turns, callers)
        raise typer.Exit(
            _execute(
                "voice-callers",
                callers_at_once.callers_at_once,
                bounds,
                ModelChoice.LOCAL,
                as_json=as_json,
            )
        )


def _execute(
    name: str, run: Measure, bounds: tuple[int, int], models: ModelChoice, *, as_json: bool
) -> int:
    """Run, print, and return the exit status: 0 when every check held, else 1."""
    try:
        result = asyncio.run(_run(run, bounds, models))
    except (StartupError, CallFailedError) as error:
        print(error, file=sys.stderr)
        if as_json:
            print(json.dumps({"scenario": name, "passed": False, "error": str(error)}))
        return 1
    print_result(name, result, Console())
    if as_json:
        print(json.dumps(result.as_json(name)))
    return 0 if result.passed else 1


async def _run(run: Measure, bounds: tuple[int, int], models: ModelChoice) -> Result:
    async with agent(models) as stack:
        result = await run(Target(stack.console_url, stack.api_key, stack), *bounds)
        if not result.passed:
            for line in list(stack.log.lines)[-20:]:
                print(line, file=sys.stderr)
        return result


@asynccontextmanager
async def agent(models: ModelChoice) -> AsyncIterator[Stack]:
    """A whole Trunkline with an agent. Raises StartupError."""
    if models is ModelChoice.LOCAL:
        async with _stack("voice", {}) as stack:
            yield stack
        return
    async with model_servers() as variables, _stack("openai_pipeline", variables) as stack:
        yield stack


def _stack(backend: str, variables: Mapping[str, str]) -> Stack:
    quiet = {"TRUNKLINE_LOG_LEVEL": "warning", **variables}
    return Stack(StackSettings(quiet, ready_timeout_s=90.0, backend=backend))
