"""`loadtest run`: from a scenario file to a table, a page and an exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Result
from loadtest.live.order import MAX_CALLS
from loadtest.report import print_result
from loadtest.scenario_runs.conductor import Run, conduct
from loadtest.scenario_runs.live_view import live_view
from loadtest.scenario_runs.page import page
from loadtest.scenario_runs.scenario_file import Bound, ScenarioError, ScenarioFile, read_scenario
from loadtest.scenario_runs.verdict import judge

FLEET = Path(__file__).parents[1] / "scenarios" / "fleet.toml"
REPORTS = Path("artifacts") / "loadtest"
USAGE_ERROR = 2


def run_command(
    scenario: Annotated[Path, typer.Argument(help="The scenario file (TOML).")],
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML report goes.", show_default=str(REPORTS))
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Run a scenario file. Exit status: 0 all thresholds hold, 1 otherwise, 2 a bad file."""
    try:
        read = read_scenario(scenario)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    name = scenario.stem
    raise typer.Exit(execute(read, name, scenario.read_text(), report, as_json=as_json))


def fleet_command(
    calls: Annotated[int, typer.Option(min=1, max=MAX_CALLS, help="Live calls.")] = 200,
    report: Annotated[
        Path | None, typer.Option(help="Where the HTML report goes.", show_default=str(REPORTS))
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Three relays, three transceivers, two backends, Redis with sentinels: one of each is lost."""
    raise typer.Exit(
        execute(
            of_size(read_scenario(FLEET), calls),
            "fleet",
            FLEET.read_text(),
            report,
            as_json=as_json,
        )
    )


def of_size(scenario: ScenarioFile, calls: int) -> ScenarioFile:
    """The scenario with another number of calls at its highest, and that as its threshold."""
    most = max(point.calls for point in scenario.ramp)
    ramp = tuple(
        point.model_copy(update={"calls": round(point.calls * calls / most)})
        for point in scenario.ramp
    )
    reached = {**scenario.thresholds, "calls_live_max": Bound(min=calls)}
    return scenario.model_copy(update={"ramp": ramp, "thresholds": reached})


def execute(
    scenario: ScenarioFile, name: str, text: str, report: Path | None, *, as_json: bool
) -> int:
    """Run, print, write the page; returns the exit status."""
    try:
        with live_view(scenario.seconds) as view:
            run = asyncio.run(conduct(scenario, view))
    except (StartupError, ExceptionGroup) as error:
        return _failed(name, _first(error), as_json=as_json)
    result = judge(scenario, run.moments, run.faults)
    if run.redis_commands is not None:
        result.figures["redis_commands_per_s"] = round(run.redis_commands / scenario.seconds, 1)
    place = report or REPORTS / f"{name}.html"
    _write(place, scenario.title, result, run, text)
    print_result(name, result, Console())
    print(f"report: {place}")
    if as_json:
        print(json.dumps(result.as_json(name)))
    return 0 if result.passed else 1


def _write(place: Path, title: str, result: Result, run: Run, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(page(title, result, run.moments, run.faults, text, run.log))


def _failed(name: str, error: BaseException, *, as_json: bool) -> int:
    print(error, file=sys.stderr)
    if as_json:
        print(json.dumps({"scenario": name, "passed": False, "error": str(error)}))
    return 1


def _first(error: BaseException) -> BaseException:
    """The error that ended the run, out of its groups; one that is not ours is raised again."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, StartupError):
        raise error
    return error
