"""What handlers ask of the store: each is a function of a connection, run in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import MessageToDict

from records.api.cursors import write_cursor, write_place
from records.api.problem import Problem
from records.api.views import (
    CallList,
    CallView,
    Cost,
    EventList,
    EventView,
    MediaView,
    Plumbing,
    Transcript,
    TurnList,
    row_view,
    said_view,
    span_view,
)
from records.diagnosis.facts import Before
from records.diagnosis.story import Story, tell
from records.evidence.chains import Verification, verify
from records.export.case import Case
from records.store import reading
from records.store.database import Connection
from records.store.event_pages import Place, event_page
from records.store.lineage import prompt_changed_us
from records.store.reading import CallFilter
from trunkline.v1 import record_pb2 as pb

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call, as somebody may see it: `tenant` is whose calls they see, None for all."""

    call_id: str
    tenant: str | None

    def row(self, connection: Connection) -> Row:
        """Its row. Raises Problem no_such_call, also for a call of others."""
        row = reading.call(connection, self.call_id)
        if row is None or self.tenant not in (None, row["tenant"]):
            raise Problem("no_such_call", "No call of yours has that id.")
        return row


@dataclass(frozen=True, slots=True)
class EventsWanted:
    """Which events of a call."""

    limit: int
    after: Place | None = None
    since_us: int | None = None
    kind: str | None = None


def calls(wanted: CallFilter) -> Callable[[Connection], CallList]:
    """A page of calls."""

    def ask(connection: Connection) -> CallList:
        rows = reading.calls(connection, replace(wanted, limit=wanted.limit + 1))
        shown = rows[: wanted.limit]
        more = len(rows) > len(shown)
        return CallList(tuple(map(row_view, shown)), write_cursor(shown[-1]) if more else None)

    return ask


def story_of(connection: Connection, row: Row) -> Story:
    """The story of a call with what was known before it began."""
    call_id = row["call_id"]
    before = Before(prompt_changed_us(connection, row))
    return tell(reading.events(connection, call_id), reading.contents(connection, call_id), before)


def view(connection: Connection, row: Row) -> CallView:
    """A call with its story."""
    return CallView(row_view(row), story_of(connection, row))


def turns(connection: Connection, row: Row) -> TurnList:
    """Its turns, with what was said."""
    return TurnList(story_of(connection, row).turns)


def media(connection: Connection, row: Row) -> MediaView:
    """Its media, line by line and span by span."""
    spans = tuple(map(span_view, reading.media(connection, row["call_id"])))
    return MediaView(story_of(connection, row).media, spans)


def transcript(connection: Connection, row: Row) -> Transcript:
    """What was said."""
    rows = reading.transcript(connection, row["call_id"])
    return Transcript(tuple(map(said_view, rows)), row["erased_us"])


def cost(connection: Connection, row: Row) -> Cost:
    """What it used."""
    usage = story_of(connection, row).usage
    prices = [one.price for one in usage if one.price is not None]
    plumbing = Plumbing(
        cpu_s=row["cpu_s"],
        bytes_from_caller=row["bytes_from_caller"],
        bytes_to_caller=row["bytes_to_caller"],
        record_bytes=row["size_bytes"],
    )
    return Cost(usage, sum(prices) if prices else None, plumbing)


def case(connection: Connection, row: Row) -> Case:
    """All that an export needs."""
    call_id = row["call_id"]
    events = reading.events(connection, call_id)
    said = reading.contents(connection, call_id)
    before = Before(prompt_changed_us(connection, row))
    return Case(call_id, tuple(events), said, tell(events, said, before))


def verification(connection: Connection, row: Row) -> Verification:
    """Whether its record is whole."""
    return verify(connection, row["call_id"])


def events(wanted: EventsWanted) -> Callable[[Connection, Row], EventList]:
    """A page of its events."""

    def ask(connection: Connection, row: Row) -> EventList:
        call_id = row["call_id"]
        page = event_page(
            connection,
            call_id,
            limit=wanted.limit,
            after=wanted.after,
            since_us=wanted.since_us,
            kind=wanted.kind,
        )
        said = reading.contents(connection, call_id)
        found = tuple(_event(one, said.get((one["source"], one["number"]))) for one in page.rows)
        return EventList(found, write_place(page.next) if page.next else None)

    return ask


def _event(row: Row, content: str | None) -> EventView:
    event = pb.Event.FromString(row["body"])
    kind = event.WhichOneof("body")
    body = MessageToDict(getattr(event, kind), preserving_proto_field_name=True) if kind else {}
    known = pb.Origin.DESCRIPTOR.values_by_number.get(event.origin)
    return EventView(
        source=event.source,
        number=event.number,
        wall_us=event.wall_us,
        monotonic_us=event.monotonic_us,
        origin=known.name.removeprefix("ORIGIN_").lower() if known else str(event.origin),
        kind=kind or "unknown",
        body=body,
        content=content,
    )
