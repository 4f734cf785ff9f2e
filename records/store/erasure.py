"""Erasing: content goes, with its salt, and the chain stays whole, since it is over hashes."""

from __future__ import annotations

from records.store.database import Connection


def erase(connection: Connection, call_id: str, now_us: int) -> bool:
    """Forget what was said in a call, also what is still to come; False for no such call."""
    changed = connection.run(
        "UPDATE calls SET erased_us = COALESCE(erased_us, :now_us) WHERE call_id = :id",
        {"now_us": now_us, "id": call_id},
    )
    connection.run("DELETE FROM contents WHERE call_id = :id", {"id": call_id})
    return changed > 0
