"""The Plumbing Tax as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.calls.figures import NONE, ms
from cli.tables import table

Json = Mapping[str, Any]
LAYERS = {
    "transport": "transport",
    "latency_engineering": "latency engineering",
    "scaling": "scaling",
    "observability": "observability",
    "model": "model",
}


def tax_view(report: Json) -> RenderableType:
    """The bill by layer, its shares, the offers to rent, and what is not known."""
    if not report["calls"]:
        return "no call: the tax is of calls in the record, and none matches"
    return Group(*_parts(report))


def _parts(report: Json) -> Iterator[RenderableType]:
    bill = report["bill"]
    older = ", older ones left out" if report["more"] else ""
    calls = "1 call" if report["calls"] == 1 else f"{report['calls']:,} calls"
    yield Text(f"{calls}{older}, {bill['minutes']:,.1f} minutes, {bill['currency']}")
    yield _layers(bill)
    yield _shares(report)
    yield _rented(report)
    if bill["not_known"]:
        yield Text("Not known, so not in the bill:")
        yield from (Text(f"  {one}") for one in bill["not_known"])


def _layers(bill: Json) -> Table:
    made = table("Layers", "layer", "#list", "#paid", "#ms an answer", "#silence of moves, ms")
    for one in bill["layers"]:
        silence = ms(one["silence_ms"]) if one["silence_ms"] else ""
        made.add_row(
            LAYERS[one["layer"]],
            money(one["list"] if one["priced"] else None),
            money(one["paid"] if one["priced"] else None),
            ms(one["ms_per_answer"]),
            silence,
        )
    made.add_row("not explained", "", "", ms(bill["unexplained_ms"]), "")
    sums = (money(bill["list"]), money(bill["paid"]), ms(bill["answer_ms"]))
    made.add_row("[bold]bill", *(f"[bold]{one}" for one in sums), "")
    return made


def _shares(report: Json) -> Table:
    made = table(
        f"By {report['by']}", report["by"], "#calls", "#minutes", "#plumbing", "#model", "#paid"
    )
    for one in report["shares"]:
        made.add_row(
            escape(one["name"]) or "none",
            f"{one['calls']:,}",
            f"{one['minutes']:,.1f}",
            money(one["plumbing"]),
            money(one["model"]),
            money(one["paid"]),
        )
    return made


def _rented(report: Json) -> Table:
    made = table("Rented", "offer", "#a minute", "#rented", "#ours", "as of", "break-even")
    for one in report["rented"]:
        part = "with the model" if one["with_model"] else "plumbing only"
        made.add_row(
            escape(f"{one['name']}, {part}"),
            money(one["per_minute"]),
            money(one["rented"]),
            money(one["ours"]),
            escape(one["as_of"]),
            escape(f"{one['break_even']} {one['source']}"),
        )
    return made


def money(value: str | None) -> str:
    """`0.0384`: four digits after the point, more for what is smaller."""
    if value is None:
        return NONE
    amount = Decimal(value)
    if not amount or amount >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.4f}" if amount >= Decimal("0.001") else f"{amount:.2g}"
