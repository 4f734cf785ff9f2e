"""Makes a signed root over every chain that has grown since the one before."""

from __future__ import annotations

from typing import Any

from records.evidence.keys import SigningKey
from records.evidence.statement import Statement, hash_of, root_over
from records.store.database import Connection

MAX_LEAVES = 10_000  # of one root; what is left over has the next one


def make_root(connection: Connection, key: SigningKey, now_us: int) -> Statement | None:
    """The next root, stored with its leaves; None when no chain has grown."""
    connection.lock_schema()  # one at a time, whoever makes it
    heads = connection.rows(
        "SELECT call_id, source, events, last_number, last_hash FROM sources"
        " WHERE rooted_events < events ORDER BY call_id, source LIMIT :most",
        {"most": MAX_LEAVES},
    )
    if not heads:
        return None
    statement = _next(connection, heads, now_us)
    _store(connection, statement, heads, key)
    return statement


def _next(connection: Connection, heads: list[dict[str, Any]], now_us: int) -> Statement:
    before = connection.rows("SELECT number, statement FROM roots ORDER BY number DESC LIMIT 1")
    number = before[0]["number"] + 1 if before else 1
    previous = hash_of(bytes(before[0]["statement"])) if before else b""
    return Statement(number, now_us, len(heads), root_over(heads), previous)


def _store(
    connection: Connection, statement: Statement, heads: list[dict[str, Any]], key: SigningKey
) -> None:
    written = statement.write()
    connection.run(
        "INSERT INTO roots (number, signed_us, leaves, statement, signature, key_id)"
        " VALUES (:number, :signed_us, :leaves, :statement, :signature, :key_id)",
        {
            "number": statement.number,
            "signed_us": statement.signed_us,
            "leaves": statement.leaves,
            "statement": written,
            "signature": key.sign(written),
            "key_id": key.id,
        },
    )
    connection.run_many(
        "INSERT INTO leaves (root, place, call_id, source, events, last_number, last_hash)"
        " VALUES (:root, :place, :call_id, :source, :events, :last_number, :last_hash)",
        [{**head, "root": statement.number, "place": at} for at, head in enumerate(heads)],
    )
    connection.run_many(
        "UPDATE sources SET rooted_events = :events WHERE call_id = :call_id AND source = :source",
        heads,
    )
