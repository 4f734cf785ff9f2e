"""`trunkline`: look at a fleet and act on it.

Exit status: 0 done, 1 not done (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from cli import keys as key_steps
from cli import tables
from cli.doctor import command as doctor
from cli.fleet_view import Heard, ask_nodes, ask_relays, find_node, nodes
from cli.keys import Ring
from cli.options import Options, fail, options, reason, run, warn
from cli.reach import CliError, Reach
from fleet.address import Address
from trunkline.v1 import admin_pb2
from wire.keys import KeyRing

DEFAULT_TRANSCEIVER = "127.0.0.1:9201"
DEFAULT_RELAYS = "127.0.0.1:9101"
WAIT_INTERVAL_S = 1.0

app = typer.Typer(
    help="Look at a Trunkline fleet and act on it, over its admin ports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
limits_app = typer.Typer(help="What keys and models may use.", invoke_without_command=True)
keys_app = typer.Typer(help="Rotate the keys of tokens and of the trunk.", no_args_is_help=True)
app.add_typer(limits_app, name="limits")
app.add_typer(keys_app, name="keys")
app.command("doctor")(doctor.doctor)

Why = Annotated[str, typer.Option("--why", help="Kept in the log beside your name.")]
RingOption = Annotated[Ring, typer.Option("--ring", help="Which keys.")]


@app.callback()
def configure(
    context: typer.Context,
    admin: Annotated[
        str,
        typer.Option(envvar="TRUNKLINE_ADMIN", help="Admin port of any transceiver."),
    ] = DEFAULT_TRANSCEIVER,
    relays: Annotated[
        str,
        typer.Option(envvar="TRUNKLINE_RELAY_ADMINS", help="Admin ports of the relays, by commas."),
    ] = DEFAULT_RELAYS,
    token: Annotated[
        str, typer.Option(envvar="TRUNKLINE_ADMIN_TOKEN", help="Your bearer token.")
    ] = "",
    ca: Annotated[
        Path | None, typer.Option(envvar="TRUNKLINE_ADMIN_CA", help="PEM of the servers' CA: TLS.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="Your client certificate (mTLS).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at a Trunkline fleet and act on it."""
    try:
        places = tuple(map(Address.parse, filter(None, relays.split(","))))
        reach = Reach(Address.parse(admin), places, token, ca, cert, key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for path in (ca, cert, key):
        if path is not None and not path.is_file():
            raise typer.BadParameter(f"{path} is not a file")
    context.obj = Options(reach, as_json)


@app.command("nodes")
def nodes_command(context: typer.Context) -> None:
    """Transceivers in the directory."""

    async def work() -> None:
        known = await nodes(options(context).reach)
        options(context).show(tables.nodes_table(known), known)

    run(work())


@app.command()
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


@app.command()
def call(
    context: typer.Context,
    call_id: Annotated[str, typer.Argument(metavar="ID")],
    end: Annotated[bool, typer.Option("--end", help="End it.")] = False,
    why: Why = "",
) -> None:
    """One live call, wherever it is; --end ends it."""

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


@app.command()
def drain(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="Name or index.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when no call is left.")] = False,
    deadline_s: Annotated[
        int, typer.Option(min=0, max=86_400, help="End what is left then; 0: never.")
    ] = 0,
    undo: Annotated[bool, typer.Option("--undo", help="Take new calls again.")] = False,
    why: Why = "",
) -> None:
    """No new calls for a transceiver; those that are there go on."""

    async def work() -> None:
        reach = options(context).reach
        place = Address.parse((await find_node(reach, node)).admin)
        async with reach.process(place) as process:
            left = await process.drain(deadline_s=deadline_s, undo=undo, why=reason(why))
            while wait and not undo and left:
                await asyncio.sleep(WAIT_INTERVAL_S)
                left = len(await process.calls())
        state = "takes calls again" if undo else "takes no new calls"
        options(context).show(f"{node} {state}; live calls: {left}", {"node": node, "calls": left})

    run(work())


@app.command()
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


@app.command()
def top(
    context: typer.Context,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, max=60)] = 1.0,
    rounds: Annotated[int, typer.Option(help="Stop after so many; 0: never.")] = 0,
) -> None:
    """The fleet, live: nodes, calls, flows, packets a second."""

    async def work() -> None:
        before: dict[str, tuple[float, Counter[str]]] = {}
        with Live(auto_refresh=False) as live:
            count = 0
            while True:
                live.update(await _screen(options(context).reach, before), refresh=True)
                count += 1
                if count == rounds:
                    return
                await asyncio.sleep(interval_s)

    run(work())


async def _screen(reach: Reach, before: dict[str, tuple[float, Counter[str]]]) -> Group:
    known, heard = await asyncio.gather(nodes(reach), ask_relays(reach, lambda p: p.stats()))
    rates = {one.name: _rates(one, before) for one in heard}
    return Group(tables.nodes_table(known), "", tables.relays_table(heard, rates))


def _rates(
    heard: Heard[admin_pb2.StatsResponse], before: dict[str, tuple[float, Counter[str]]]
) -> dict[str, float]:
    if heard.answer is None:
        return {}
    now, counters = time.monotonic(), Counter(dict(heard.answer.total))
    then, old = before.get(heard.name, (now, counters))
    before[heard.name] = now, counters
    return {name: (count - old[name]) / (now - then or 1) for name, count in counters.items()}


@app.command()
def info(context: typer.Context) -> None:
    """Build, clock and settings (without secrets) of every process."""

    async def work() -> None:
        reach = options(context).reach
        heard = [
            *await ask_nodes(reach, lambda process: process.info()),
            *await ask_relays(reach, lambda process: process.info()),
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


@app.command()
def events(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(help="Of the events' names, as call_.")] = "",
    relay: Annotated[bool, typer.Option("--relay", help="Of the first relay instead.")] = False,
) -> None:
    """What a process logs, live."""

    async def work() -> None:
        reach = options(context).reach
        place = reach.relays[0] if relay and reach.relays else reach.transceiver
        async with reach.process(place) as process:
            async for event in process.events(prefix):
                fields = " ".join(f"{name}={value}" for name, value in sorted(event.fields.items()))
                line = f"{event.unix_ms / 1000:.3f} {event.level:7} {event.name} {fields}"
                options(context).show(line, event)

    run(work())


@app.command("log-level")
def log_level(
    context: typer.Context,
    level: Annotated[str, typer.Argument(help="debug, info, warning or error")],
    relay: Annotated[bool, typer.Option("--relay", help="Of the relays instead.")] = False,
    why: Why = "",
) -> None:
    """Log more or less, on every transceiver or relay, until its next start."""

    async def work() -> None:
        ask = ask_relays if relay else ask_nodes
        heard = await ask(
            options(context).reach, lambda process: process.set_log_level(level, reason(why))
        )
        values = {one.name: one.answer.level_before for one in heard if one.answer}
        options(context).show(f"{level} on {', '.join(values) or 'nobody'}", values)
        if lines := tables.problems(heard):
            raise CliError("; ".join(lines))

    run(work())


@limits_app.callback()
def limits(context: typer.Context) -> None:
    """What keys and models may use, and what they use now."""
    if context.invoked_subcommand:
        return

    async def work() -> None:
        async with options(context).reach.process(options(context).reach.transceiver) as process:
            found = await process.limits()
        options(context).show(tables.limits_table(found.subjects), found)
        if found.alone:
            warn(["the store does not answer calls: every process counts by itself"])

    run(work())


@limits_app.command("set")
def limits_set(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="key/ID, key/* or model/NAME")],
    amounts: Annotated[str, typer.Argument(help='As in "calls=100 rate=10 tokens=500000".')],
    why: Why = "",
) -> None:
    """Other limits for a key or a model, in the whole fleet."""
    run(_change_limits(options(context), subject, amounts, why))


@limits_app.command("reset")
def limits_reset(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="key/ID, key/* or model/NAME")],
    why: Why = "",
) -> None:
    """What the settings say holds again."""
    run(_change_limits(options(context), subject, "", why))


async def _change_limits(chosen: Options, subject: str, amounts: str, why: str) -> None:
    async with chosen.reach.process(chosen.reach.transceiver) as process:
        before = await process.change_limits(subject, amounts, reason(why))
    after = amounts or "as in the settings"
    chosen.show(f"{subject}: {after} (was {before})", {"subject": subject, "before": before})


@keys_app.command("rotate")
def rotate(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the new ring is written, 0600, first of all.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Give every process a new key, then have every process use it; the old one stays valid.

    The ring of now is read from TRUNKLINE_TOKEN_KEYS or TRUNKLINE_TRUNK_KEYS. Put the new one into
    your Secret before anything restarts, and `retire` the old key when its calls have ended.
    """

    async def work() -> None:
        reach, known = options(context).reach, _ring_of_now(ring)
        await key_steps.check_same(reach, ring, known)
        wider = key_steps.with_new_key(known)
        final = key_steps.made_current(wider, known)
        key_steps.write_ring(out, final)
        await key_steps.push(reach, ring, wider, reason(why))
        count = await key_steps.push(reach, ring, final, reason(why))
        options(context).show(
            f"{count} processes use key {final.current}; the ring is in {out}: put it into "
            f"{ring.variable} now",
            {"processes": count, "key_id": final.current},
        )

    run(work())


@keys_app.command("retire")
def retire(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where the ring is written, 0600, first of all.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Have every process forget all keys but the one in use."""

    async def work() -> None:
        reach, known = options(context).reach, _ring_of_now(ring)
        await key_steps.check_same(reach, ring, known)
        final = key_steps.without_old(known)
        key_steps.write_ring(out, final)
        count = await key_steps.push(reach, ring, final, reason(why))
        options(context).show(
            f"{count} processes know key {final.current} alone; the ring is in {out}",
            {"processes": count, "key_id": final.current},
        )

    run(work())


@keys_app.command("push")
def push(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A ring that rotate or retire wrote.")],
    ring: RingOption = Ring.TOKEN,
    why: Why = "",
) -> None:
    """Give every process the ring in a file: to finish what was interrupted."""

    async def work() -> None:
        try:
            text = file.read_text().strip()
        except OSError as error:
            raise CliError(f"{file}: {(error.strerror or 'unreadable').lower()}") from None
        final = key_steps.read_ring(ring, text)
        count = await key_steps.push(options(context).reach, ring, final, reason(why))
        options(context).show(f"{count} processes use key {final.current}", {"processes": count})

    run(work())


def _ring_of_now(ring: Ring) -> KeyRing:
    text = os.environ.get(ring.variable, "")
    if not text:
        fail(f"set {ring.variable} to the ring that the fleet has now")
    return key_steps.read_ring(ring, text)


def main() -> None:
    """Entry point of the `trunkline` script."""
    app()


if __name__ == "__main__":
    main()
