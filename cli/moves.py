"""Commands that move calls from one transceiver to another. Callers notice nothing."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli import balance
from cli.balance import Share, Step
from cli.fleet_view import ask_nodes, nodes
from cli.options import Options, Why, options, reason, run, warn
from cli.reach import CliError
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2

DEFAULT_RATE = 2.0
"""Calls a second. A move costs both processes some ms of a core, and a mistake is seen in time."""


async def move(chosen: Options, call_id: str, node: str, why: str) -> None:
    """Move one call, wherever it is, to a node (empty: one with room). Raises CliError."""
    reach = chosen.reach
    asked = await ask_nodes(reach, lambda process: process.call(call_id))
    found = [one.address for one in asked if one.answer is not None and one.address]
    if not found:
        raise CliError(f"no live call {call_id}")
    async with reach.process(found[0]) as process:
        moved = await process.move_call(call_id, node, reason(why))
    values = {"call": call_id, "node": moved.node, "took_ms": moved.took_ms}
    chosen.show(f"{call_id} is on {moved.node} now, after {moved.took_ms:.0f} ms", values)


def rebalance(
    context: typer.Context,
    rate: Annotated[
        float, typer.Option(min=0.1, max=100.0, help="Calls a second, at most.")
    ] = DEFAULT_RATE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would move.")] = False,
    why: Why = "",
) -> None:
    """Even calls out over the transceivers, slowly; after a scale-up, for instance."""

    async def work() -> None:
        chosen = options(context)
        known = [node for node in await nodes(chosen.reach) if node.live and not node.draining]
        steps = balance.plan([await _share(chosen, node) for node in known])
        moved = 0
        if not dry_run:
            moved = await _carry_out(chosen, known, steps, rate, reason(why))
        values = {"planned": len(steps), "moved": moved}
        said = f"{len(steps)} calls would move" if dry_run else f"{moved} of {len(steps)} moved"
        chosen.show(said, values)

    run(work())


async def _share(chosen: Options, node: admin_pb2.Node) -> Share:
    """A node as it is now: what the directory says is some seconds old."""
    if not node.admin:
        raise CliError(f"node {node.name} does not say where its admin port is")
    async with chosen.reach.process(Address.parse(node.admin)) as process:
        return Share(node.name, await process.live_calls(), node.capacity)


async def _carry_out(
    chosen: Options,
    known: list[admin_pb2.Node],
    steps: list[Step],
    rate: float,
    why: str,
) -> int:
    """Move the newest calls of each source; how many went. What does not go is said and left."""
    admins = {node.name: Address.parse(node.admin) for node in known}
    waiting: dict[str, list[str]] = {}
    moved = 0
    for number, step in enumerate(steps):
        if number:
            await asyncio.sleep(1 / rate)
        async with chosen.reach.process(admins[step.source]) as process:
            if step.source not in waiting:
                calls = await process.calls()
                waiting[step.source] = [c.call_id for c in calls if c.state == "connected"]
            if not waiting[step.source]:
                continue
            try:
                await process.move_call(waiting[step.source].pop(), step.target, why)
                moved += 1
            except CliError as error:
                warn([str(error)])
    return moved
