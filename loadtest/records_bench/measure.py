"""Stores calls that were made up, asks for them, and says how long that took."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from loadtest.percentiles import percentile
from loadtest.records_bench.calls import CALL_S, MadeCall
from records.store import reading
from records.store.reading import CallFilter
from records.store.rows import Recorded
from records.store.store import Store

BATCH = 2000  # events of one transaction: a recorder that has a backlog reads as many
LIVE = 150  # calls at once, whose events come mixed
QUESTIONS = 100
BEGAN_US = 1_790_000_000_000_000


@dataclass(frozen=True)
class Written:
    """What storing took."""

    calls: int
    events: int
    wall_s: float
    cpu_s: float

    def shown(self) -> dict[str, Any]:
        """For a report; `events_per_s` is by the clock, the other by CPU time of the recorder."""
        return {
            "calls": self.calls,
            "events": self.events,
            "events_per_s": round(self.events / self.wall_s),
            "events_per_cpu_s": round(self.events / self.cpu_s),
        }


def write(store: Store, calls: int, progress: Callable[[int], None]) -> Written:
    """Store that many calls; making them is not counted."""
    events, wall_s, cpu_s = 0, 0.0, 0.0
    for crowd in _crowds(calls):
        for start in range(0, len(crowd), BATCH):
            batch = crowd[start : start + BATCH]
            began_s, cpu_before_s = time.perf_counter(), time.process_time()
            store.write(batch)
            wall_s += time.perf_counter() - began_s
            cpu_s += time.process_time() - cpu_before_s
            events += len(batch)
        progress(events)
    return Written(calls, events, wall_s, cpu_s)


def ask(store: Store, calls: int) -> dict[str, float]:
    """p95 in ms of lists with filters, and of everything that shows one call."""
    chance = random.Random(7)
    lists = [_timed(partial(_list, store, wanted)) for wanted in _filters(chance)]
    shows = [_timed(lambda: _show(store, chance.randrange(calls))) for _ in range(QUESTIONS)]
    return {
        "list_ms_p95": round(percentile(lists, 95), 1),
        "show_ms_p95": round(percentile(shows, 95), 1),
    }


def bytes_a_minute(store: Store) -> int:
    """Bytes of events and contents that a minute of a call takes, without the database's own."""
    with store.reading() as connection:
        rows = connection.rows("SELECT AVG(size_bytes) AS size_bytes FROM calls")
    return round(float(rows[0]["size_bytes"]) * 60 / CALL_S)


def _crowds(calls: int) -> Iterator[list[Recorded]]:
    """Events of LIVE calls at once, in the order of time."""
    chance = random.Random(1)
    for first in range(0, calls, LIVE):
        numbers = range(first, min(first + LIVE, calls))
        made = (MadeCall(number, BEGAN_US + number * 400_000, chance) for number in numbers)
        crowd = [event for call in made for event in call.events()]
        yield sorted(crowd, key=lambda one: one.event.wall_us)


def _filters(chance: random.Random) -> Sequence[CallFilter]:
    kinds: list[Callable[[], CallFilter]] = [
        lambda: CallFilter(tenant="acme", key_id=f"key-{chance.randrange(50)}"),
        lambda: CallFilter(end_reason="client_closed"),
        lambda: CallFilter(model="m-1", since_us=BEGAN_US + chance.randrange(10**9)),
        lambda: CallFilter(v2v_p95_ms_above=900.0),
    ]
    return [kinds[number % len(kinds)]() for number in range(QUESTIONS)]


def _list(store: Store, wanted: CallFilter) -> None:
    with store.reading() as connection:
        reading.calls(connection, wanted)


def _show(store: Store, number: int) -> None:
    call_id = f"rtc_made{number:012d}"
    with store.reading() as connection:
        reading.call(connection, call_id)
        reading.events(connection, call_id)
        for read in (reading.transcript, reading.turns, reading.media, reading.usages):
            read(connection, call_id)


def _timed(question: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    question()
    return (time.perf_counter() - began_s) * 1000
