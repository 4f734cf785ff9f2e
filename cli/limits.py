"""`trunkline limits`: what keys and models may use."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import tables
from cli.options import Options, Why, options, reason, run, warn

Subject = Annotated[
    str,
    typer.Argument(help="key/ID, key/* or model/NAME: the calls that the backend NAME is given."),
]

app = typer.Typer(help="What keys and models may use.", invoke_without_command=True)


@app.callback()
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


@app.command("set")
def limits_set(
    context: typer.Context,
    subject: Subject,
    amounts: Annotated[str, typer.Argument(help='As in "calls=100 rate=10 tokens=500000".')],
    why: Why = "",
) -> None:
    """Other limits for a key or a model, in the whole fleet."""
    run(_change_limits(options(context), subject, amounts, why))


@app.command("reset")
def limits_reset(
    context: typer.Context,
    subject: Subject,
    why: Why = "",
) -> None:
    """What the settings say holds again."""
    run(_change_limits(options(context), subject, "", why))


async def _change_limits(chosen: Options, subject: str, amounts: str, why: str) -> None:
    async with chosen.reach.process(chosen.reach.transceiver) as process:
        before = await process.change_limits(subject, amounts, reason(why))
    after = amounts or "as in the settings"
    chosen.show(f"{subject}: {after} (was {before})", {"subject": subject, "before": before})
