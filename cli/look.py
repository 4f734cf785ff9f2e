"""Commands that only look. They change no call, log or limit."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table

from cli import tables
from cli.fleet_view import ask_backends, ask_nodes, ask_relays, nodes
from cli.options import options, run, warn
from cli.processes import Kind, first_of
from trunkline.v1 import admin_pb2


def nodes_command(context: typer.Context) -> None:
    """Transceivers in the directory."""

    async def work() -> None:
        known = await nodes(options(context).reach)
        options(context).show(tables.nodes_table(known), known)

    run(work())


def backends_command(context: typer.Context) -> None:
    """Model backends and the calls they have."""

    async def work() -> None:
        heard = await ask_backends(options(context).reach, lambda process: process.backend())
        values = {one.name: vars(one.answer) for one in heard if one.answer}
        options(context).show(tables.backends_table(heard), values)
        warn(tables.problems(heard))

    run(work())


def calls(context: typer.Context) -> None:
    """Live calls of every node."""

    async def work() -> None:
        found = []
        heard = await ask_nodes(options(context).reach, lambda process: process.calls())
        for one in heard:
            found += [(one.name, call) for call in one.answer or ()]
        values = [{"node": node, "call": call} for node, call in found]
        options(context).show(tables.calls_table(found), values)
        warn(tables.problems(heard))

    run(work())


def flows(
    context: typer.Context,
    most: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of each relay.")] = 100,
) -> None:
    """Client addresses and the nodes they lead to, on every relay; addresses are cut short."""

    async def work() -> None:
        heard = await ask_relays(options(context).reach, lambda process: process.flows(most))
        found = [(one.name, flow) for one in heard for flow in one.answer or ()]
        values = [{"relay": relay, "flow": flow} for relay, flow in found]
        options(context).show(tables.flows_table(found), values)
        warn(tables.problems(heard))

    run(work())


def info(context: typer.Context) -> None:
    """Build, clock and settings (without secrets) of every process."""

    async def work() -> None:
        reach = options(context).reach
        heard = [
            *await ask_nodes(reach, lambda process: process.info()),
            *await ask_relays(reach, lambda process: process.info()),
            *await ask_backends(reach, lambda process: process.info()),
        ]
        view = Group(*(_info_table(one.name, one.answer) for one in heard if one.answer))
        options(context).show(view, {one.name: one.answer for one in heard if one.answer})
        warn(tables.problems(heard))

    run(work())


def _info_table(name: str, found: admin_pb2.Info) -> Table:
    made = tables.table(f"{found.process} {name}", "what", "value")
    made.add_row("version", f"{found.version}, Python {found.python}")
    made.add_row("up for", tables.age(found.started_unix_ms))
    made.add_row("log level", found.log_level)
    for variable, value in found.settings.items():
        made.add_row(variable, value)
    return made


def events(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(help="Of the events' names, as call_.")] = "",
    of: Annotated[Kind, typer.Option(help="Of which process; of several the first.")] = (
        Kind.TRANSCEIVER
    ),
) -> None:
    """What a process logs, live."""

    async def work() -> None:
        reach = options(context).reach
        async with reach.process(first_of(reach, of)) as process:
            async for event in process.events(prefix):
                fields = " ".join(f"{name}={value}" for name, value in sorted(event.fields.items()))
                line = f"{event.unix_ms / 1000:.3f} {event.level:7} {event.name} {fields}"
                options(context).show(line, event)

    run(work())
