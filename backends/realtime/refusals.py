"""Why a client event was refused, in the words of OpenAI's `error` event.

Codes that their API is known to use are used where they fit; docs/realtime.md has the whole list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from backends.realtime.shape import MAX_EVENT_ID_CHARS

MAX_QUOTED_CHARS = 64

# pydantic names the branch of a union it took inside the path; clients know no such name.
_BRANCHES = frozenset(
    {
        *("server_vad", "semantic_vad", "audio/pcm", "audio/pcmu", "audio/pcma"),
        *("message", "user", "system", "assistant", "function_call", "function_call_output"),
        *("input_text", "input_audio", "output_text", "output_audio", "str", "int"),
    }
)
_NOUNS = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


class Refusal(Exception):  # noqa: N818 - an answer to the client, not a mistake of ours
    """An `error` event on its way: stable `code`, `message` for people, `param` by its path."""

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind
        self.event_id: str | None = None

    def about(self, event_id: object) -> Refusal:
        """The same, naming the event that it answers."""
        if isinstance(event_id, str):
            self.event_id = event_id[:MAX_EVENT_ID_CHARS]
        return self

    def shown(self) -> dict[str, Any]:
        """The `error` member."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": self.event_id,
        }


def from_validation(error: ValidationError, members: Mapping[str, Any], root: str = "") -> Refusal:
    """The first thing wrong with an event. `root` is put before its path."""
    detail = error.errors(include_url=False, include_context=True, include_input=True)[0]
    param = _path(root, detail["loc"], members)
    return _refusal(detail, param)


def _refusal(detail: ErrorDetails, param: str) -> Refusal:
    kind = detail["type"]
    if kind in {"missing", "union_tag_not_found"}:
        param = f"{param}.{_tag(detail)}" if kind != "missing" else param
        return Refusal(
            "missing_required_parameter", f"Missing required parameter: '{param}'.", param
        )
    if kind == "extra_forbidden":
        return Refusal("unknown_parameter", f"Unknown parameter: '{param}'.", param)
    if kind in _NOUNS:
        message = f"Invalid type for '{param}': expected {_NOUNS[kind]}."
        return Refusal("invalid_type", message, param)
    return Refusal("invalid_value", f"Invalid '{param}': {_reason(detail)}.", param)


def _tag(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("discriminator", "type")).strip("'")


def _reason(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return f"supported values are {context['expected']}"
    if detail["type"] == "union_tag_invalid":
        return f"supported values of {_tag(detail)} are {context['expected_tags']}"
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _path(root: str, parts: tuple[int | str, ...], value: Any) -> str:
    """`session.tools[2].name`; steps that are no part of what the client sent are left out."""
    path = root
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif not _is_branch(part, value):
            path += f".{part[:MAX_QUOTED_CHARS]}" if path else part[:MAX_QUOTED_CHARS]
            value = value.get(part) if isinstance(value, Mapping) else None
    return path


def _is_branch(part: str, value: object) -> bool:
    """Whether pydantic put the step there: a member of that name would be in the value."""
    if isinstance(value, Mapping) and part in value:
        return False
    return part in _BRANCHES or not part.isidentifier() or part[:1].isupper()
