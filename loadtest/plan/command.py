"""`loadtest plan`: a table, beside the design with a port for each call, and every assumption."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtest.plan.figures import Figures, FiguresError, read_figures
from loadtest.plan.sizing import Demand, Needs, port_per_call, trunkline

USAGE_ERROR = 2
ROWS = (
    ("calls a region must carry", "calls"),
    ("media pods", "media_pods"),
    ("relay cores", "relay_cores"),
    ("transceiver cores", "transceiver_cores"),
    ("Redis cores", "other_cores"),
    ("memory, GiB", "memory_gib"),
    ("public UDP ports", "public_udp_ports"),
    ("public addresses", "public_addresses"),
    ("Redis commands/s", "redis_commands_s"),
    ("media out, Gbit/s", "egress_gbit_s"),
    ("compute a month", "compute_month"),
    ("addresses a month", "addresses_month"),
    ("egress a month", "egress_month"),
    ("all a month", "month"),
)


def plan_command(
    calls: Annotated[int, typer.Option(min=1, max=100_000_000, help="Calls at the same time.")],
    regions: Annotated[int, typer.Option(min=1, max=100, help="Regions.")] = 1,
    figures: Annotated[
        Path | None, typer.Option(help="Figures of your own (TOML), in place of those that ship.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """What so many calls need: pods, cores, ports, Redis, bandwidth, money."""
    try:
        known = read_figures(figures)
    except FiguresError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    demand = Demand(calls, regions)
    ours, theirs = trunkline(demand, known), port_per_call(demand, known)
    _show(demand, ours, theirs, known)
    if as_json:
        print(json.dumps(_object(demand, ours, theirs, known)))


def _show(demand: Demand, ours: Needs, theirs: Needs, known: Figures) -> None:
    console = Console()
    whole = f"{demand.calls:,} calls, {demand.regions} regions"
    table = Table(title=f"loadtest plan: {whole}", title_justify="left")
    table.add_column("")
    for name in ("a region", "all regions", "a port a call, all regions"):
        table.add_column(name, justify="right")
    columns = (ours, ours.times(demand.regions), theirs.times(demand.regions))
    for label, field in ROWS:
        table.add_row(label, *(f"{getattr(column, field):,}" for column in columns))
    console.print(table)
    console.print(_assumptions(known))
    if demand.regions > 1:
        print("Each region is sized to carry its part of the calls of one that is lost.")
    print("The model backends are not in it: they cost what your models cost.")


def _assumptions(known: Figures) -> Table:
    table = Table(title="From these figures", title_justify="left")
    for name in ("figure", "value", "source"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for name, figure in known:
        table.add_row(name, f"{figure.value:g}", figure.source)
    return table


def _object(demand: Demand, ours: Needs, theirs: Needs, known: Figures) -> dict[str, object]:
    def shown(needs: Needs) -> dict[str, object]:
        return {**asdict(needs), "cores": needs.cores, "month": round(needs.month, 2)}

    return {
        "scenario": "plan",
        **asdict(demand),
        "region": shown(ours),
        "all_regions": shown(ours.times(demand.regions)),
        "port_per_call_all_regions": shown(theirs.times(demand.regions)),
        "figures": {name: figure.model_dump() for name, figure in known},
    }
