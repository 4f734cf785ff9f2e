"""The rule of all client events: no unknown member, no conversion."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

MAX_EVENT_ID_CHARS = 512
MAX_TEXT_CHARS = 128 * 1024  # of one instruction, message part or function output


class Shape(BaseModel):
    """A JSON object with these members and no other; `"1"` is no number and 1 no string."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An item, call or response id that a client may choose or name."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Of a function (the rule of OpenAI's function names)."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
"""Whatever people and models say."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A short name: of a model, a voice, a language."""
