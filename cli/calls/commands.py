"""`trunkline calls …`: what an operator types."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from cli import look
from cli.calls.reach import Record, RecordReach
from cli.calls.story_view import story_view
from cli.calls.views import diff_view, event_line, list_view, verify_view
from cli.calls.wheres import moment, where
from cli.options import Options, options, run
from cli.reach import CliError

DEFAULT_URL = "http://127.0.0.1:9503"
TAIL_INTERVAL_S = 1.0
# Events of one call come from several processes, so one may come after a later one.
TAIL_OVERLAP_US = 30_000_000

app = typer.Typer(
    help="Live calls; and the record of calls, live and past, over its API.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
CallId = Annotated[str, typer.Argument(metavar="ID")]


class Form(Enum):
    """What a call can be exported as."""

    JSON = "json"
    OTLP = "otlp"
    RTCSTATS = "rtcstats"
    HEP = "hep"


@app.callback()
def calls(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="TRUNKLINE_RECORDS_URL", help="The API of the record.")
    ] = DEFAULT_URL,
) -> None:
    """Without a command: live calls of every node, as their transceivers tell of them."""
    if context.invoked_subcommand is None:
        look.calls(context)
        return
    reach = options(context).reach
    context.meta["record"] = RecordReach(url, reach.token, reach.ca)


@app.command("list")
def list_calls(
    context: typer.Context,
    wheres: Annotated[
        list[str] | None,
        typer.Option("--where", help="NAME=VALUE, as model=m-1, prompt=greeter@7; v2v_p95>800ms."),
    ] = None,
    since: Annotated[str, typer.Option(help="2h, 30m, 1d, or a time.")] = "",
    until: Annotated[str, typer.Option(help="The same.")] = "",
    text: Annotated[str, typer.Option(help="What was said.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Those that go on.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 30,
) -> None:
    """Calls, the newest first."""

    async def work(record: Record, shown: Options) -> None:
        now = datetime.now(UTC)
        query = [where(one) for one in wheres or ()] + [("limit", str(limit))]
        query += [(n, moment(v, now)) for n, v in (("since", since), ("until", until)) if v]
        query += [("text", text)] if text else []
        query += [("state", "live")] if live else []
        page = await record.calls(query)
        shown.show(list_view(page["calls"]) if page["calls"] else "no call", page)

    _with(context, work)


@app.command("show")
def show(context: typer.Context, call_id: CallId) -> None:
    """One call in one screen: what was wrong, whose it was, media, turns."""

    async def work(record: Record, shown: Options) -> None:
        told = await record.call(call_id)
        shown.show(story_view(told), told)

    _with(context, work)


@app.command("timeline")
def timeline(
    context: typer.Context,
    call_id: CallId,
    kind: Annotated[str, typer.Option(help="One kind of events, as gap or turn.")] = "",
) -> None:
    """Every event of a call in the order of time."""

    async def work(record: Record, shown: Options) -> None:
        events = await record.events(call_id, [("kind", kind)] if kind else [])
        shown.show(Group(*map(event_line, events)) if events else "no event", events)

    _with(context, work)


@app.command("tail")
def tail(context: typer.Context, call_id: CallId) -> None:
    """Events of a live call as they come; it ends with the call."""

    async def work(record: Record, shown: Options) -> None:
        known: set[tuple[str, int]] = set()
        since_us = 0
        while True:
            for event in await record.events(call_id, [("since_us", str(since_us))]):
                key = (event["source"], event["number"])
                if key not in known:
                    known.add(key)
                    since_us = max(since_us, event["wall_us"] - TAIL_OVERLAP_US)
                    shown.show(event_line(event), event)
            call = (await record.call(call_id))["call"]
            if call["state"] == "ended" and call["events"] <= len(known):
                return
            await asyncio.sleep(TAIL_INTERVAL_S)

    _with(context, work)


@app.command("diff")
def diff(
    context: typer.Context,
    left: Annotated[str, typer.Argument(metavar="A")],
    right: Annotated[str, typer.Argument(metavar="B")],
) -> None:
    """Two calls side by side."""

    async def work(record: Record, shown: Options) -> None:
        both = await asyncio.gather(record.call(left), record.call(right))
        shown.show(diff_view(*both), both)

    _with(context, work)


@app.command("export")
def export(
    context: typer.Context,
    call_id: CallId,
    form: Annotated[Form, typer.Option("--format", help="What for.")] = Form.JSON,
    out: Annotated[Path | None, typer.Option(help="A file; without it stdout.")] = None,
) -> None:
    """A call as a file: JSON, an OTLP trace, an rtcstats dump, HEP3 packets."""

    async def work(record: Record, _shown: Options) -> None:
        body = await record.export(call_id, form.value)
        try:
            if out is None:
                sys.stdout.buffer.write(body)
            else:
                out.write_bytes(body)
        except OSError as error:
            raise CliError(f"{out or 'stdout'}: {(error.strerror or 'failed').lower()}") from None

    _with(context, work)


@app.command("verify")
def verify(context: typer.Context, call_id: CallId) -> None:
    """Whether an event was changed, removed, put in or moved; exit status 1 if so."""

    async def work(record: Record, shown: Options) -> None:
        told = await record.verify(call_id)
        shown.show(verify_view(told), told)
        if not told["whole"]:
            wrong = [f"not what was said: {one}" for one in told["contents_wrong"]]
            said = "; ".join([f"the record of {call_id} is not whole", *wrong, *told["unsigned"]])
            raise CliError(said)

    _with(context, work)


@app.command("erase")
def erase(
    context: typer.Context,
    call_id: CallId,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget what was said in a call; the rest of its record stays, and still verifies."""
    if not sure and not typer.confirm(f"Erase what was said in {call_id}?"):
        raise typer.Exit(1)

    async def work(record: Record, shown: Options) -> None:
        await record.erase(call_id)
        shown.show(f"what was said in {call_id} is erased", {"call_id": call_id, "erased": True})

    _with(context, work)


def _with(context: typer.Context, work: Callable[[Record, Options], Awaitable[Any]]) -> None:
    reach: RecordReach = context.meta["record"]

    async def opened() -> None:
        async with reach.opened() as record:
            await work(record, options(context))

    run(opened())
