"""Commands that act on calls and processes. The log says who used them, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli import tables
from cli.fleet_view import ask_nodes, find_process
from cli.moves import move
from cli.options import Why, options, reason, run
from cli.processes import Kind, ask
from cli.reach import CliError

WAIT_INTERVAL_S = 1.0


def call(
    context: typer.Context,
    words: Annotated[
        list[str], typer.Argument(metavar="ID | move ID [NODE]", help="The call; or where to.")
    ],
    end: Annotated[bool, typer.Option("--end", help="End it.")] = False,
    why: Why = "",
) -> None:
    """One live call, wherever it is; --end ends it, and `move` moves it to a node (a name or an
    index), or to one with room."""
    call_id, target = _call_and_target(words)
    if target is not None:
        run(move(options(context), call_id, target, why))
        return

    async def work() -> None:
        reach = options(context).reach
        found = [
            (one, one.answer)
            for one in await ask_nodes(reach, lambda process: process.call(call_id))
            if one.answer is not None
        ]
        if not found:
            raise CliError(f"no live call {call_id}")
        [(where, it)] = found
        if end and where.address:
            async with reach.process(where.address) as process:
                await process.end_call(call_id, reason(why))
        options(context).show(tables.calls_table([(where.name, it)]), it)

    run(work())


def _call_and_target(words: list[str]) -> tuple[str, str | None]:
    """The call, and the node that it is to move to ("": any); None: it is not to move."""
    match words:
        case ["move", call_id]:
            return call_id, ""
        case ["move", call_id, node]:
            return call_id, node
        case [call_id] if call_id != "move":
            return call_id, None
    raise typer.BadParameter("give ID, or move ID [NODE]")


def drain(
    context: typer.Context,
    node: Annotated[
        str,
        typer.Argument(
            metavar="NODE", help="A transceiver's name or index, or a backend's admin HOST:PORT."
        ),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Return when no call is left.")] = False,
    deadline_s: Annotated[
        int, typer.Option(min=0, max=86_400, help="End what is left then; 0: never.")
    ] = 0,
    undo: Annotated[bool, typer.Option("--undo", help="Take new calls again.")] = False,
    why: Why = "",
) -> None:
    """No new calls for a transceiver or a backend. Those of a transceiver move to others with room;
    those that find none, and those of a backend, go on."""

    async def work() -> None:
        reach = options(context).reach
        place = await find_process(reach, node)
        async with reach.process(place) as process:
            left = await process.drain(deadline_s=deadline_s, undo=undo, why=reason(why))
            while wait and not undo and left:
                await asyncio.sleep(WAIT_INTERVAL_S)
                left = await process.live_calls()
        state = "takes calls again" if undo else "takes no new calls"
        options(context).show(f"{node} {state}; live calls: {left}", {"node": node, "calls": left})

    run(work())


def log_level(
    context: typer.Context,
    level: Annotated[str, typer.Argument(help="debug, info, warning or error")],
    of: Annotated[Kind, typer.Option(help="Of which processes.")] = Kind.TRANSCEIVER,
    why: Why = "",
) -> None:
    """Log more or less, on every transceiver, relay or backend, until its next start."""

    async def work() -> None:
        heard = await ask(
            options(context).reach, of, lambda process: process.set_log_level(level, reason(why))
        )
        values = {one.name: one.answer.level_before for one in heard if one.answer}
        options(context).show(f"{level} on {', '.join(values) or 'nobody'}", values)
        if lines := tables.problems(heard):
            raise CliError("; ".join(lines))

    run(work())
