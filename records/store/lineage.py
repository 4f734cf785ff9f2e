"""When a version of a prompt came into use."""

from __future__ import annotations

from typing import Any

from records.store.database import Connection

# Both stop at the first row that the index gives: a prompt may have a million calls.
_FIRST_USE = """
    SELECT first_us FROM calls
    WHERE prompt_id = :prompt_id AND prompt_version = :version AND tenant = :tenant
    ORDER BY first_us LIMIT 1"""
_OTHER_BEFORE = """
    SELECT 1 AS yes FROM calls
    WHERE prompt_id = :prompt_id AND prompt_version {order} :version AND tenant = :tenant
    AND first_us < :first_us LIMIT 1"""
_OTHERS_BEFORE = tuple(_OTHER_BEFORE.format(order=order) for order in ("<", ">"))


def prompt_changed_us(connection: Connection, call: dict[str, Any]) -> int | None:
    """When its tenant first used the prompt's version of a call, another having been in use before.

    `call` is a row of `calls`. Unix time in µs; None when nothing was changed, or nobody knows.
    """
    if not call["prompt_id"] or not call["prompt_version"]:
        return None
    wanted = {
        "prompt_id": call["prompt_id"],
        "version": call["prompt_version"],
        "tenant": call["tenant"],
    }
    first = connection.rows(_FIRST_USE, wanted)
    if not first:
        return None
    first_us: int = first[0]["first_us"]
    earlier = {**wanted, "first_us": first_us}
    return first_us if any(connection.rows(sql, earlier) for sql in _OTHERS_BEFORE) else None
