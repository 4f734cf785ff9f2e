"""The command: it runs every check, shows one table, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.doctor.checks import CHECKS
from cli.doctor.finding import Finding
from cli.doctor.surroundings import Surroundings
from cli.options import options, run
from cli.tables import table
from fleet.api_key import ApiKey

_MARKS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "·"}


async def examine(here: Surroundings) -> list[Finding]:
    """All findings, in the order of the checks; what one of them breaks others say again."""
    found: list[Finding] = []
    for check in CHECKS:
        found += await check(here)
    return found


def doctor(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="TRUNKLINE_URL", help="Where callers POST their offers.")
    ] = "http://127.0.0.1:8080",
    api_key: Annotated[
        str,
        typer.Option(
            envvar=["TRUNKLINE_API_KEY", "TRUNKLINE_TRANSCEIVER_API_KEYS"],
            help="A key that may place calls; of several the first.",
        ),
    ] = "",
    redis_url: Annotated[
        str, typer.Option(envvar="TRUNKLINE_REDIS_URL", help="As the processes have it.")
    ] = "",
    cluster: Annotated[int, typer.Option(envvar="TRUNKLINE_CLUSTER", min=0, max=4095)] = 0,
    certificate: Annotated[
        Path | None,
        typer.Option(envvar="TRUNKLINE_ADMIN_TLS_CERT", help="Of the admin ports, if they do TLS."),
    ] = None,
) -> None:
    """Find what is wrong with a fleet, and say what to do. Places one real call and ends it."""

    async def work() -> None:
        here = Surroundings(
            options(context).reach,
            url.rstrip("/"),
            _first_key(api_key),
            redis_url,
            cluster,
            certificate,
        )
        found = await examine(here)
        options(context).show(_view(found), [vars(finding) for finding in found])
        if any(finding.good is False for finding in found):
            raise typer.Exit(1)

    run(work())


def _first_key(text: str) -> str:
    """The key itself, which settings may name a tenant with; empty for none."""
    first = text.split(",", maxsplit=1)[0].strip()
    return ApiKey.parse(first).key if first else ""


def _view(found: list[Finding]) -> Table:
    made = table("Doctor", "", "check", "seen", "what to do")
    for finding in found:
        made.add_row(_MARKS[finding.good], finding.check, escape(finding.saw), escape(finding.cure))
    return made
