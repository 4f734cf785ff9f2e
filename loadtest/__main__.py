"""`python -m loadtest NAME`: runs a benchmark or a scenario, and tells whether its bars hold."""

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import asyncio
import json
import sys
from typing import Annotated

import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Limits, Result, Scenario
from loadtest.benchmarks import SCENARIOS
from loadtest.benchmarks.relay import BENCHMARKS
from loadtest.measured.command import measured
from loadtest.plan.command import plan_command
from loadtest.records_bench.command import records_command
from loadtest.relay_bench.benchmark import add_benchmarks
from loadtest.report import print_result, progress_bar
from loadtest.scenario_runs.command import fleet_command, run_command
from loadtest.siege.command import siege_command
from loadtest.simulate.command import simulate_command
from loadtest.stall.command import stall_command
from loadtest.storm.command import storm_command
from loadtest.survive.command import survive_command
from loadtest.target import open_target
from loadtest.voice_bench.command import add_voice_commands

MAX_SECONDS = 3600.0

app = typer.Typer(
    help="Place calls and measure them. Exit status: 0 when all checks hold, 1 otherwise, 2 usage.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options() -> None:
    """Place calls and measure them. Exit status: 0 all checks hold, 1 otherwise, 2 usage."""


def add_command(scenario: Scenario) -> None:
    """Give the scenario its command, with its own default bounds."""
    defaults = scenario.defaults

    @app.command(scenario.name, help=scenario.summary, short_help=scenario.summary)
    def command(
        target: Annotated[
            str | None, typer.Option(help="Base URL to call; without it a stack is started.")
        ] = None,
        api_key: Annotated[
            str | None,
            typer.Option(envvar="TRUNKLINE_LOADTEST_API_KEY", help="API key of the target."),
        ] = None,
        calls: Annotated[
            int, typer.Option(min=1, max=scenario.max_calls, help="Calls in all.")
        ] = defaults.calls,
        concurrency: Annotated[
            int | None, typer.Option(min=1, max=scenario.max_calls, help="Calls at once.")
        ] = None,
        seconds: Annotated[
            float, typer.Option(min=1, max=MAX_SECONDS, help="Time for the calls.")
        ] = defaults.seconds,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line.")
        ] = False,
    ) -> None:
        if target is not None and not target.startswith(("http://", "https://")):
            raise typer.BadParameter("a target is an http:// or https:// URL", param_hint="target")
        at_once = concurrency or (calls if defaults.concurrency > 1 else 1)
        limits = Limits(calls, min(at_once, calls), seconds)
        raise typer.Exit(execute(scenario, limits, target, api_key, as_json=as_json))


def execute(
    scenario: Scenario, limits: Limits, url: str | None, api_key: str | None, *, as_json: bool
) -> int:
    """Run, print, and return the exit status: 0 when every check held, else 1."""
    try:
        result = asyncio.run(_run(scenario, limits, url, api_key))
    except StartupError as error:
        print(error, file=sys.stderr)
        if as_json:
            print(json.dumps({"scenario": scenario.name, "passed": False, "error": str(error)}))
        return 1
    print_result(scenario.name, result, Console())
    if as_json:
        print(json.dumps(result.as_json(scenario.name)))
    return 0 if result.passed else 1


async def _run(scenario: Scenario, limits: Limits, url: str | None, api_key: str | None) -> Result:
    with progress_bar(limits.calls) as progress:
        async with open_target(url, api_key, scenario.variables) as target:
            result = await scenario.run(target, limits, progress)
            if not result.passed and target.stack is not None:
                _show_log(list(target.stack.log.lines)[-40:])
            return result


def _show_log(lines: list[str]) -> None:
    """Show the end of the stack's log on stderr: a failed run should not need a second one."""
    for line in lines:
        print(line, file=sys.stderr)


for _scenario in SCENARIOS.values():
    add_command(_scenario)
add_benchmarks(app, BENCHMARKS)
app.command("run")(run_command)
add_voice_commands(app)
app.command("fleet")(fleet_command)
app.command("siege")(siege_command)
app.command("storm")(storm_command)
app.command("stall")(stall_command)
app.command("survive")(survive_command)
app.command("records")(records_command)
app.command("plan")(plan_command)
app.command("simulate")(simulate_command)
app.add_typer(measured, name="measured")

if __name__ == "__main__":
    app()
