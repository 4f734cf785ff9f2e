"""The configuration a session starts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from backends.realtime import refusals
from backends.realtime.config import SessionConfig
from backends.realtime.refusals import Refusal
from fleet.foreign_json import read_json


def read_initial(
    session_json: str, defaults: Mapping[str, Any]
) -> tuple[SessionConfig, Refusal | None]:
    """The caller's `session` over `defaults` over the API's own.

    A session object that cannot be used leaves the defaults, and a Refusal that says why.
    Raises ValidationError for bad `defaults`, which are ours.
    """
    start = SessionConfig.model_validate({"type": "realtime", **defaults})
    try:
        given = _given(session_json)
    except Refusal as refusal:
        return start, refusal
    try:
        update = SessionConfig.model_validate(given)
        model = update.model or start.model
        return start.model_copy(update={"model": model}).merged(update), None
    except ValidationError as error:
        return start, refusals.from_validation(error, given, "session")


def _given(session_json: str) -> dict[str, Any]:
    if not session_json:
        return {"type": "realtime"}
    try:
        given = read_json(session_json)
    except ValueError:
        raise Refusal("invalid_json", "The session is not valid JSON.", "session") from None
    if not isinstance(given, dict):
        raise Refusal("invalid_type", "Invalid type for 'session': expected an object.", "session")
    return {"type": "realtime", **given}
