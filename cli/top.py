"""`trunkline top`: shows the fleet on one screen, again and again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from cli import tables
from cli.fleet_view import Heard, ask_backends, ask_nodes, ask_relays, nodes
from cli.journeys import Journeys
from cli.options import options, run
from cli.reach import Reach
from trunkline.v1 import admin_pb2


def top(
    context: typer.Context,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, max=60)] = 1.0,
    rounds: Annotated[int, typer.Option(help="Stop after so many; 0: never.")] = 0,
) -> None:
    """The fleet, live: nodes, calls that move, flows, packets a second, backends."""

    async def work() -> None:
        before: dict[str, tuple[float, Counter[str]]] = {}
        journeys = Journeys()
        with Live(auto_refresh=False) as live:
            count = 0
            while True:
                live.update(await _screen(options(context).reach, before, journeys), refresh=True)
                count += 1
                if count == rounds:
                    return
                await asyncio.sleep(interval_s)

    run(work())


async def _screen(
    reach: Reach, before: dict[str, tuple[float, Counter[str]]], journeys: Journeys
) -> Group:
    known, calls, heard, backends = await asyncio.gather(
        nodes(reach),
        ask_nodes(reach, lambda process: process.calls()),
        ask_relays(reach, lambda process: process.stats()),
        ask_backends(reach, lambda process: process.backend()),
    )
    rates = {one.name: _rates(one, before) for one in heard}
    views = [tables.nodes_table(known), tables.relays_table(heard, rates)]
    if moved := journeys.saw((one.name, call) for one in calls for call in one.answer or ()):
        views.insert(1, tables.journeys_table(moved))
    views += [tables.backends_table(backends)] if backends else []
    return Group(*(part for view in views for part in (view, "")))


def _rates(
    heard: Heard[admin_pb2.StatsResponse], before: dict[str, tuple[float, Counter[str]]]
) -> dict[str, float]:
    if heard.answer is None:
        return {}
    now, counters = time.monotonic(), Counter(dict(heard.answer.total))
    then, old = before.get(heard.name, (now, counters))
    before[heard.name] = now, counters
    return {name: (count - old[name]) / (now - then or 1) for name, count in counters.items()}
