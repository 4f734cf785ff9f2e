"""`loadtest simulate`: a day as a table, checked against what must hold of any day."""

from __future__ import annotations

import json
import time
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from loadtest.benchmark import Check, Result
from loadtest.report import print_result
from loadtest.simulate.model import Day, Fleet
from loadtest.simulate.settings import Settings

MAX_REFUSED = 0.01


def simulate_command(
    calls: Annotated[int, typer.Option(min=1, max=100_000_000, help="Calls in the day.")] = 10**6,
    call_s: Annotated[float, typer.Option(min=10, max=7200, help="Mean length.")] = 180.0,
    node_calls: Annotated[int, typer.Option(min=1, help="Calls a transceiver holds.")] = 120,
    failures: Annotated[int, typer.Option(min=0, max=10_000, help="Nodes that die.")] = 10,
    deploys: Annotated[int, typer.Option(min=0, max=100, help="Rolling upgrades.")] = 2,
    lost_on_failure: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a dead node's calls that is lost.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same day.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """A day of a fleet: callers, failures, upgrades, the autoscaler."""
    try:
        settings = Settings(
            calls=calls,
            mean_call_s=call_s,
            node_calls=node_calls,
            failures=failures,
            deploys=deploys,
            lost_on_failure=lost_on_failure,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    began_s = time.perf_counter()
    result = judge(settings, Fleet(settings).run())
    result.figures["took_s"] = round(time.perf_counter() - began_s, 2)
    print_result("simulate", result, Console())
    if as_json:
        print(json.dumps(result.as_json("simulate")))
    raise typer.Exit(0 if result.passed else 1)


def judge(settings: Settings, day: Day) -> Result:
    """Figures of a day; the bar is that hardly anybody has to give up."""
    gave_up = day.gave_up / max(1, day.offered)
    node_hours = sum(day.nodes) * settings.tick_s / 3600
    share = sum(day.live) / max(1, sum(day.nodes) * settings.node_calls)
    return Result(
        figures={
            "calls_offered": day.offered,
            "calls_placed": day.placed,
            "calls_completed": day.completed,
            "refusals": day.refused,
            "gave_up_share": round(gave_up, 6),
            "lost_by_failures": day.lost,
            "cut_by_drains": day.cut,
            "node_failures": day.failures,
            "node_drains": day.drains,
            "live_calls_peak": max(day.live),
            "nodes_peak": max(day.nodes),
            "nodes_mean": round(float(np.mean(day.nodes)), 1),
            "node_hours": round(node_hours, 1),
            "nodes_used_share": round(share, 3),
        },
        checks=[
            Check(
                "few give up",
                gave_up <= MAX_REFUSED,
                f"{gave_up:.4%}, bar: at most {MAX_REFUSED:.0%}",
            ),
            Check("every call is accounted for", _balances(day), f"{day.placed} placed"),
        ],
    )


def _balances(day: Day) -> bool:
    """Placed calls were completed, lost, cut, or are live at the end."""
    return day.placed == day.completed + day.lost + day.cut + day.live[-1]
