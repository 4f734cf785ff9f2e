"""What a session asks a model for, named by content: two calls with one prompt say the same. Pure.

Texts are named by the SHA-256 of their UTF-8, everything else by that of its canonical JSON (sorted
keys, no spaces).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from trunkline.v1 import record_pb2 as pb

MAX_NAME_CHARS = 100
MAX_TOOLS = 64
# Everything else of a session is its settings; an id and a time say nothing about it.
_APART = ("instructions", "tools", "prompt", "id", "expires_at", "object")


def lineage(session_json: str) -> pb.SessionSet:
    """Of a caller's `session` as it came, "" for none; what is no object asks for nothing."""
    return lineage_of(_parsed(session_json))


def lineage_of(session: Mapping[str, Any]) -> pb.SessionSet:
    """The same of a session that was read."""
    prompt = _object(session.get("prompt"))
    voice = _object(_object(session.get("audio")).get("output")).get("voice")
    settings = {name: value for name, value in session.items() if name not in _APART}
    return pb.SessionSet(
        model=_name(session.get("model")),
        prompt_id=_name(prompt.get("id")),
        prompt_version=_name(prompt.get("version")),
        instructions_sha256=_hash(session.get("instructions")),
        tools_sha256=_hash(session.get("tools")),
        settings_sha256=_hash(settings),
        voice=_name(voice),
        tools=_tool_names(session.get("tools")),
    )


def _parsed(session_json: str) -> dict[str, Any]:
    try:
        return _object(from_json(session_json)) if session_json else {}
    except ValueError:  # checked where it came in; here it says nothing
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: object) -> str:
    return value[:MAX_NAME_CHARS] if isinstance(value, str) else ""


def _hash(value: object) -> str:
    if not value:
        return ""
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, sort_keys=True, separators=(",", ":"))
    )
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _tool_names(tools: object) -> list[str]:
    named = [_name(_object(tool).get("name")) for tool in tools] if isinstance(tools, list) else []
    return [name for name in named if name][:MAX_TOOLS]
