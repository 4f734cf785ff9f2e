"""Whether the events of a call are those that were written: each names the hash of the one before.

A chain shows that an event was changed, removed, put in or moved. Whoever can write to the store
can make a chain anew from the changed event on; signed roots are there for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fleet.record.chain import content_hash
from records.api.views import ChainView, Verification
from records.store.database import Connection
from trunkline.v1 import record_pb2 as pb

Row = dict[str, Any]


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
    whole = not wrong and all(one.broken_at is None and not one.missing for one in chains)
    return Verification(whole, chains, len(said), wrong)


def chain(source: str, rows: Sequence[Row]) -> ChainView:
    """The chain of one source; rows have `number` and `body` in the order of numbers."""
    first, last = rows[0]["number"], rows[-1]["number"]
    return ChainView(
        source=source,
        events=len(rows),
        first_number=first,
        last_number=last,
        missing=last - len(rows),  # a source counts from 1
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
        if follows and event.previous != hashlib.sha256(before["body"]).digest():
            return int(after["number"])
    return None


def _by_source(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["source"], []).append(row)
    return found
