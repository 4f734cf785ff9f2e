"""Whether the events of a call are those that were written: each names the hash of the one before.

A chain shows that an event was changed, removed, put in or moved. Whoever can write to the store
can make a chain anew from the changed event on: that is found by the signed roots (`verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fleet.record.chain import content_hash, event_hash
from records.evidence.verify import check_call
from records.store.database import Connection
from trunkline.v1 import record_pb2 as pb

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChainState:
    """The chain of one source: how many events are there, and the first number that is wrong.

    `holes` are events that the source itself says it left out, and `missing` those that it wrote.
    """

    source: str
    events: int
    first_number: int
    last_number: int
    holes: int
    missing: int
    broken_at: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether the events of a call are those that were written, in their order.

    `whole` is true when no chain is broken, nothing is missing, each content is that of its event,
    and all is as it was signed. `unsigned` says what is not as the newest signed leaves have it.
    """

    whole: bool
    chains: tuple[ChainState, ...]
    contents_checked: int
    contents_wrong: tuple[str, ...]
    unsigned: tuple[str, ...]


def verify(connection: Connection, call_id: str) -> Verification:
    """Every chain of a call, and every content that is still there against its hash."""
    rows = connection.rows(
        "SELECT source, number, body FROM events WHERE call_id = :id ORDER BY source, number",
        {"id": call_id},
    )
    chains = tuple(chain(source, found) for source, found in _by_source(rows).items())
    said = connection.rows(
        "SELECT source, number, salt, content FROM contents WHERE call_id = :id", {"id": call_id}
    )
    wrong = tuple(wrong_contents(rows, said))
    unsigned = tuple(f"{one.place}: {one.what}" for one in check_call(connection, call_id))
    whole = all(one.broken_at is None and not one.missing for one in chains)
    return Verification(whole and not (wrong or unsigned), chains, len(said), wrong, unsigned)


def chain(source: str, rows: Sequence[Row]) -> ChainState:
    """The chain of one source; rows have `number` and `body` in the order of numbers."""
    first, last = rows[0]["number"], rows[-1]["number"]
    holes = sum(_left_out(pb.Event.FromString(row["body"])) for row in rows)
    return ChainState(
        source=source,
        events=len(rows),
        first_number=first,
        last_number=last,
        holes=holes,
        missing=max(0, last - len(rows) - holes),  # a source counts from 1
        broken_at=_broken_at(rows),
    )


def wrong_contents(rows: Sequence[Row], said: Sequence[Row]) -> list[str]:
    """`source/number` of what is not the content of its event."""
    hashes = {
        (row["source"], row["number"]): pb.Event.FromString(row["body"]).content_hash
        for row in rows
    }
    return [
        f"{one['source']}/{one['number']}"
        for one in said
        if content_hash(one["salt"], one["content"]) != hashes.get((one["source"], one["number"]))
    ]


def _left_out(event: pb.Event) -> int:
    if event.WhichOneof("body") != "hole":
        return 0
    return max(0, event.hole.last - event.hole.first + 1)


def _broken_at(rows: Sequence[Row]) -> int | None:
    """The number of the first event that does not name the one before it."""
    if rows[0]["number"] == 1 and pb.Event.FromString(rows[0]["body"]).previous:
        return 1
    for before, after in pairwise(rows):
        event = pb.Event.FromString(after["body"])
        if event.number != after["number"]:
            return int(after["number"])
        # Where numbers are missing, what came before is not there to be compared.
        follows = after["number"] == before["number"] + 1
        if follows and event.previous != event_hash(before["body"]):
            return int(after["number"])
    return None


def _by_source(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["source"], []).append(row)
    return found
