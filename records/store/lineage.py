"""When a version of a prompt came into use."""

from __future__ import annotations

from typing import Any

from records.store.database import Connection

_FIRST_USE = """
    SELECT MIN(first_us) AS first_us FROM calls
    WHERE prompt_id = :prompt_id AND prompt_version = :version AND tenant = :tenant"""
_OTHER_BEFORE = """
    SELECT 1 AS yes FROM calls
    WHERE prompt_id = :prompt_id AND prompt_version <> :version AND tenant = :tenant
    AND first_us < :first_us LIMIT 1"""


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
    (row,) = connection.rows(_FIRST_USE, wanted)
    first_us: int | None = row["first_us"]
    if first_us is None:
        return None
    before = connection.rows(_OTHER_BEFORE, {**wanted, "first_us": first_us})
    return first_us if before else None
