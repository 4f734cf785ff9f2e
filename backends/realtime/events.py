"""Server events: plain JSON objects, each with an id of its own."""

from __future__ import annotations

import json
import secrets
from typing import Any

ServerEvent = dict[str, Any]
"""One server event, ready for `to_text`."""


def new_id(prefix: str) -> str:
    """`event_…`, `item_…`, `resp_…`: 88 random bits, 22 hex digits."""
    return f"{prefix}_{secrets.token_hex(8)}{secrets.token_hex(3)}"


def server_event(event: str, /, **members: Any) -> ServerEvent:
    """The event of that name with these members."""
    return {"type": event, "event_id": new_id("event"), **members}


def to_text(event: ServerEvent) -> str:
    """The event as it goes over the wire."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)
