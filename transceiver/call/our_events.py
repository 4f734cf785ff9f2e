"""What the transceiver itself tells a caller, as events of the Realtime API.

A backend says all else. Names that are not OpenAI's begin with `trunkline.` (docs/realtime.md).
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from transceiver.call.states import FAREWELLS


def farewell(code: str) -> str:
    """Why the call is about to end; `code` is one of FAREWELLS."""
    error = {"type": "server_error", "code": code, "message": FAREWELLS[code]}
    return json.dumps({"type": "error", "error": error})


def backend_restored(losses: int, gap_ms: int) -> str:
    """Another backend goes on; `losses` of the call so far, `gap_ms` nobody listened."""
    return _event("trunkline.backend_restored", losses=losses, gap_ms=gap_ms)


def _event(name: str, **members: Any) -> str:
    return json.dumps({"type": name, "event_id": f"event_{secrets.token_hex(11)}", **members})
