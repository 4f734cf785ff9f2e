"""From what a call used to what it cost, by layer, in money and in time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from records.money.amounts import Money, measured, total
from records.money.book import Book
from records.money.call_use import CallUse
from records.money.layers import SAYS, Layer
from records.money.lines import Known, Line, bill, joined
from records.money.models import NO_REPORT, model_lines
from records.money.plumbing import plumbing_lines
from records.money.time_lines import TimeSpent, time_spent

_UNKNOWN = {
    Known.NO_PRICE: "the book has no price for it",
    Known.NOT_MEASURED: "nothing measures it",
}


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer: money by list and as paid, and ms of the mean answer (None: no answer).

    `silence_ms` is what moves cut out of calls; only scaling has it. `priced` and `unknown` count
    its lines with and without money: where nothing is priced, 0 means that it is not known.
    """

    layer: Layer
    list: Money
    paid: Money
    ms_per_answer: float | None
    silence_ms: float
    priced: int
    unknown: int
    says: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What calls cost. `list` and `paid` are the sums of `layers`, and of `lines`.

    `answer_ms` is the mean wait of the caller: the layers' `ms_per_answer` and `unexplained_ms`
    together. `not_known` names every line that has no money.
    """

    currency: str
    minutes: float
    list: Money
    paid: Money
    layers: tuple[LayerCost, ...]
    lines: tuple[Line, ...]
    answers: int
    answer_ms: float | None
    unexplained_ms: float | None
    not_known: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallCost:
    """One call before it is shown: exact, so that costs of calls can be added."""

    lines: tuple[Line, ...]
    time: TimeSpent
    seconds: Decimal


def cost_of(use: CallUse, book: Book) -> CallCost:
    """What one call cost."""
    models = [line for report in use.reports for line in model_lines(report, book)]
    lines = joined([*plumbing_lines(use, book), *(models or [NO_REPORT])])
    return CallCost(lines, time_spent(use.answers, use.move_gaps_ms), measured(use.lasted_s))


def together(costs: Iterable[CallCost]) -> CallCost:
    """Several calls as one."""
    found = tuple(costs)
    time = TimeSpent()
    for cost in found:
        time = time.plus(cost.time)
    lines = joined(line for cost in found for line in cost.lines)
    return CallCost(lines, time, total(cost.seconds for cost in found))


def bill_of(cost: CallCost, currency: str) -> Bill:
    """As it is shown."""
    listed, paid = bill(cost.lines)
    return Bill(
        currency=currency,
        minutes=round(float(cost.seconds) / 60, 6),
        list=listed,
        paid=paid,
        layers=tuple(_layer(layer, cost) for layer in Layer),
        lines=cost.lines,
        answers=cost.time.answers,
        answer_ms=_mean_ms(cost.time.whole, cost.time),
        unexplained_ms=_mean_ms(cost.time.unexplained, cost.time),
        not_known=tuple(dict.fromkeys(filter(None, map(_not_known, cost.lines)))),
    )


def _layer(layer: Layer, cost: CallCost) -> LayerCost:
    lines = tuple(line for line in cost.lines if line.layer is layer)
    listed, paid = bill(lines)
    priced = sum(line.paid is not None for line in lines)
    time = cost.time
    spent = {Layer.TRANSPORT: time.transport, Layer.LATENCY: time.latency, Layer.MODEL: time.model}
    silence = time.silence / 1000 if layer is Layer.SCALING else 0.0
    ms = _mean_ms(spent.get(layer, 0), time)
    return LayerCost(layer, listed, paid, ms, silence, priced, len(lines) - priced, SAYS[layer])


def _mean_ms(us: int, time: TimeSpent) -> float | None:
    return us / time.answers / 1000 if time.answers else None


def _not_known(line: Line) -> str:
    why = _UNKNOWN.get(line.known)
    return f"{line.layer.value}: {line.what}, {why}" if why else ""
