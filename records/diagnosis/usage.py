"""What a call used of models, by kind: tokens, seconds, characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from records.diagnosis.facts import Fact, Facts, figure, finite
from records.diagnosis.words import word
from trunkline.v1 import record_pb2 as pb


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Of one model. `amounts` are by kind, and kinds do not overlap (record.proto, UsageKind).

    `price` is what backends said by themselves, in the operator's currency; None: none said one.
    """

    provider: str
    model: str
    reports: int
    amounts: Mapping[str, float]
    price: float | None


def usage_of(facts: Facts) -> tuple[ModelUsage, ...]:
    """By provider and model, in the order of their first report."""
    by_model: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts.of("usage"):
        by_model.setdefault((fact.body.provider, fact.body.model), []).append(fact)
    return tuple(_of_model(*model, reports) for model, reports in by_model.items())


def amounts_by_response(facts: Facts) -> dict[str, Mapping[str, float]]:
    """What each response used."""
    by_response: dict[str, list[Fact]] = {}
    for fact in facts.of("usage"):
        by_response.setdefault(fact.body.response_id, []).append(fact)
    return {response: _amounts(reports) for response, reports in by_response.items() if response}


def _of_model(provider: str, model: str, reports: list[Fact]) -> ModelUsage:
    prices = [
        price for price in (figure(one.body, "price") for one in reports) if price is not None
    ]
    price = finite(sum(prices)) if prices else None
    return ModelUsage(provider, model, len(reports), _amounts(reports), price)


def _amounts(reports: Iterable[Fact]) -> Mapping[str, float]:
    amounts: dict[str, float] = {}
    for fact in reports:
        for each in fact.body.amounts:
            kind = word(pb.UsageKind, each.kind, "USAGE_KIND_") or "unspecified"
            amounts[kind] = finite(amounts.get(kind, 0.0) + each.amount) or 0.0
    return amounts
