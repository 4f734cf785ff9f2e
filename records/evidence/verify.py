"""Whether the store is what was signed: the roots among themselves, and a call against them.

    a root is changed, or signed by another     → its signature does not hold
    a root is removed                           → the next one names another before it
    a leaf is changed, removed or put in        → the root over the leaves is another
    an event is changed, and its chain made anew → the head is not the one of the leaf
    an event is removed                         → fewer are there than the leaf says

What was stored since the last root is not signed yet. Whoever removes the newest roots and all they
are over is found by who has a copy of one of them: keep copies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleet.record.chain import event_hash
from records.evidence.keys import CheckingKey
from records.evidence.statement import BadStatement, Statement, hash_of, root_over
from records.store.database import Connection


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was signed. `place` names a root, or a call and its source."""

    place: str
    what: str


def check_roots(connection: Connection, key: CheckingKey) -> Iterator[Finding]:
    """What is wrong with the roots, in their order; nothing when all hold."""
    previous, expected = b"", 1
    for row in connection.rows("SELECT * FROM roots ORDER BY number"):
        in_turn = row["number"] == expected
        if not in_turn:
            yield Finding(f"root {expected}", "it is missing")
        yield from _check_root(connection, row, key, previous if in_turn else None)
        previous, expected = hash_of(bytes(row["statement"])), row["number"] + 1


def check_call(connection: Connection, call_id: str) -> Iterator[Finding]:
    """What of a call is not as the newest leaves of its chains say."""
    newest: dict[str, dict[str, Any]] = {}
    for leaf in connection.rows(
        "SELECT * FROM leaves WHERE call_id = :id ORDER BY root", {"id": call_id}
    ):
        newest[leaf["source"]] = leaf
    for source, leaf in newest.items():
        yield from _check_chain(connection, f"{call_id} {source}", leaf)


def _check_root(
    connection: Connection, row: dict[str, Any], key: CheckingKey, previous: bytes | None
) -> Iterator[Finding]:
    place, written = f"root {row['number']}", bytes(row["statement"])
    if not key.holds(written, bytes(row["signature"])):
        yield Finding(place, "the signature is not this key's over what stands there")
        return
    try:
        statement = Statement.read(written)
    except BadStatement:
        yield Finding(place, "what was signed is no statement")
        return
    leaves = connection.rows(
        "SELECT * FROM leaves WHERE root = :root ORDER BY place", {"root": row["number"]}
    )
    if statement.number != row["number"]:
        yield Finding(place, "it stands in the place of another")
    if previous is not None and statement.previous != previous:
        yield Finding(place, "the root before it is not the one it names")
    if (statement.leaves, statement.root) != (len(leaves), root_over(leaves)):
        yield Finding(place, "its leaves are not those that were signed")


def _check_chain(connection: Connection, place: str, leaf: dict[str, Any]) -> Iterator[Finding]:
    values = {name: leaf[name] for name in ("call_id", "source", "last_number")}
    where = "call_id = :call_id AND source = :source"
    (stored,) = connection.rows(
        f"SELECT COUNT(*) AS events FROM events WHERE {where} AND number <= :last_number",  # noqa: S608
        values,
    )
    head = connection.rows(
        f"SELECT body FROM events WHERE {where} AND number = :last_number",  # noqa: S608
        values,
    )
    if stored["events"] < leaf["events"]:
        yield Finding(place, f"{leaf['events'] - stored['events']} events are missing")
    if head and event_hash(bytes(head[0]["body"])) != bytes(leaf["last_hash"]):
        yield Finding(place, "the chain was made anew")
