"""The events of one call as rules ask for them: in order, by kind, with figures that are true."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from records.diagnosis.finding import Evidence
from trunkline.v1 import record_pb2 as pb

US_PER_S = 1_000_000
NONE_SAID: Mapping[tuple[str, int], str] = {}


@dataclass(frozen=True, slots=True)
class Before:
    """What was known before the call began.

    `prompt_changed_us` is the Unix time in µs at which the call's version of its prompt was first
    used, if another version was used before; None when that is not known.
    """

    prompt_changed_us: int | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One event: its body under `body`, as `kind` names it in record.proto."""

    event: pb.Event
    kind: str
    body: Any

    @property
    def wall_us(self) -> int:
        """Unix time in microseconds."""
        return self.event.wall_us

    def says(self, words: str) -> Evidence:
        """This event as evidence."""
        return Evidence(self.event.source, self.event.number, self.event.wall_us, words)


class Facts:
    """All events of one call. `contents` has what was said, by source and number."""

    def __init__(
        self,
        events: Iterable[pb.Event],
        contents: Mapping[tuple[str, int], str] = NONE_SAID,
        before: Before | None = None,
    ) -> None:
        ordered = sorted(events, key=lambda one: (one.wall_us, one.source, one.number))
        self.all = [Fact(one, kind := _kind(one), getattr(one, kind, None)) for one in ordered]
        self.before = before or Before()
        self._contents = contents
        self._by_kind: dict[str, list[Fact]] = {}
        for fact in self.all:
            self._by_kind.setdefault(fact.kind, []).append(fact)

    def of(self, kind: str) -> Sequence[Fact]:
        """The events of one kind in order of time."""
        return self._by_kind.get(kind, ())

    def first(self, kind: str) -> Fact | None:
        """The first event of a kind."""
        return next(iter(self.of(kind)), None)

    def last(self, kind: str) -> Fact | None:
        """The last event of a kind."""
        return next(reversed(self.of(kind)), None)

    def content(self, fact: Fact) -> str | None:
        """What was said with an event; None: nothing, or it is not in the record any more."""
        return self._contents.get((fact.event.source, fact.event.number))

    @property
    def began_us(self) -> int:
        """When the call was placed, or its first event when the record does not say."""
        placed = self.first("placed") or next(iter(self.all), None)
        return placed.wall_us if placed else 0

    @property
    def last_us(self) -> int:
        """The last moment of which the record knows."""
        return self.all[-1].wall_us if self.all else 0

    def turns(self) -> list[Fact]:
        """Each turn once, as it was told last; final ones stay."""
        newest: dict[int, Fact] = {}
        for fact in self.of("turn"):
            known = newest.get(fact.body.turn)
            if known is None or fact.body.final or not known.body.final:
                newest[fact.body.turn] = fact
        return [newest[number] for number in sorted(newest)]

    @cached_property
    def turns_told(self) -> Mapping[int, Fact]:
        """Each turn as it was told first: when its answer began to leave, or when it was over."""
        told: dict[int, Fact] = {}
        for fact in self.of("turn"):
            told.setdefault(fact.body.turn, fact)
        return told

    def items(self) -> list[tuple[Fact, Fact]]:
        """Each item of the conversation: as it was told first, and as it was told last."""
        told: dict[str, tuple[Fact, Fact]] = {}
        for fact in self.of("item"):
            first, _ = told.get(fact.body.item_id, (fact, fact))
            told[fact.body.item_id] = first, fact
        return list(told.values())

    @cached_property
    def first_said(self) -> Mapping[str, int]:
        """When each item was told first as final, Unix time in µs."""
        said: dict[str, int] = {}
        for fact in self.of("item"):
            if fact.body.final:
                said.setdefault(fact.body.item_id, fact.wall_us)
        return said

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The newest text of each item that is still in the record."""
        told = ((fact.body.item_id, self.content(fact)) for fact in self.of("item"))
        return {item_id: text for item_id, text in told if text is not None}


def _kind(event: pb.Event) -> str:
    return event.WhichOneof("body") or "unknown"


def figure(message: Any, name: str) -> float | None:
    """An optional figure of a message; None when it is not set, or is no figure."""
    return finite(getattr(message, name)) if message.HasField(name) else None


def finite(value: float) -> float | None:
    """The value, or None for what no measurement gives."""
    return value if math.isfinite(value) else None


def shown_ms(value: float) -> str:
    """`1,250 ms`."""
    return f"{value:,.0f} ms"
