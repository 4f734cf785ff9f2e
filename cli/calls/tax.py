"""`trunkline tax`: what calls cost by layer, in money and time, and what they cost rented."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated

import typer

from cli.calls.reach import RecordReach
from cli.calls.tax_view import tax_view
from cli.calls.wheres import moment
from cli.options import options, run

DEFAULT_URL = "http://127.0.0.1:9503"


class By(Enum):
    """What a report is divided by."""

    DAY = "day"
    KEY = "key"
    PROMPT = "prompt"


def tax(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="TRUNKLINE_RECORDS_URL", help="The API of the record.")
    ] = DEFAULT_URL,
    since: Annotated[str, typer.Option("--from", help="2h, 1d, or a time.")] = "",
    until: Annotated[str, typer.Option("--to", help="The same.")] = "",
    key: Annotated[str, typer.Option(help="One API key, by its id.")] = "",
    prompt: Annotated[str, typer.Option(help="NAME, or NAME@VERSION.")] = "",
    call_id: Annotated[str, typer.Option("--call", help="One call; stands alone.")] = "",
    by: Annotated[By, typer.Option(help="What to divide the bill by.")] = By.DAY,
) -> None:
    """What calls cost by layer, beside what the same minutes cost rented."""
    reach = options(context).reach

    async def work() -> None:
        now = datetime.now(UTC)
        query = [(n, moment(v, now)) for n, v in (("from", since), ("to", until)) if v]
        query += [(n, v) for n, v in (("key", key), ("prompt", prompt), ("call", call_id)) if v]
        async with RecordReach(url, reach.token, reach.ca).opened() as record:
            report = await record.tax([*query, ("by", by.value)])
        options(context).show(tax_view(report), report)

    run(work())
