"""Tools that the agent runs itself: the time, and HTTP endpoints of the operator.

A tool always answers with text for the model, and so does an error: the caller hears that something
did not work, and the conversation goes on. The client runs the tools that it declares itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, HttpUrl
from pydantic_core import from_json

MAX_ANSWER_BYTES = 16 * 1024
MAX_ARGUMENTS_CHARS = 4096
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class Tool(Protocol):
    """One function a model may call."""

    @property
    def name(self) -> str:
        """What the model calls it."""

    @property
    def description(self) -> str:
        """What it is for."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON Schema of the arguments."""

    @property
    def timeout_s(self) -> float:
        """How long it may take."""

    @property
    def harmless(self) -> bool:
        """Whether it may be run for an answer that is thrown away: nothing comes of it but text."""

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """What came of it, as JSON or plain text. Raises ToolFailure."""


class ToolFailure(Exception):  # noqa: N818 - a state of the world, not a mistake
    """A tool could not answer; `str()` is a fixed phrase for the model."""


class HttpTool(BaseModel):
    """An HTTP endpoint: GET with the arguments as query, or POST with them as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = NO_ARGUMENTS
    url: HttpUrl
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    timeout_s: float = Field(5.0, gt=0, le=60)
    harmless: bool = False

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """As Tool."""
        sent = {"params": _query(arguments)} if self.method == "GET" else {"json": arguments}
        try:
            async with (
                aiohttp.ClientSession(headers=self.headers) as http,
                http.request(self.method, str(self.url), allow_redirects=False, **sent) as answer,
            ):
                body = await answer.content.read(MAX_ANSWER_BYTES)
                if answer.status != 200:
                    raise ToolFailure(f"the tool answered with status {answer.status}")
                return body.decode(errors="replace")
        except aiohttp.ClientError:
            raise ToolFailure("the tool cannot be reached") from None


class GetTime:
    """The date and time where the agent runs."""

    name = "get_time"
    description = "The current date and time."
    parameters: Mapping[str, Any] = NO_ARGUMENTS
    timeout_s = 1.0
    harmless = True

    async def run(self, arguments: Mapping[str, Any]) -> str:
        """As Tool."""
        del arguments
        now = datetime.now().astimezone()
        spoken = now.strftime("%I:%M %p").lstrip("0")
        return json.dumps({"time": spoken, "date": now.strftime("%A, %d %B %Y")})


class Toolbox:
    """The tools of one agent. Raises ValueError when two have one name."""

    def __init__(self, tools: Sequence[Tool] = ()) -> None:
        self._tools = {tool.name: tool for tool in tools}
        if len(self._tools) != len(tools):
            raise ValueError("two tools have the same name")

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def harmless(self, name: str) -> bool:
        """Whether that one may be run ahead."""
        return self._tools[name].harmless

    @property
    def functions(self) -> list[dict[str, Any]]:
        """All of them, as /v1/chat/completions wants tools."""
        return [
            as_function(tool.name, tool.description, tool.parameters)
            for tool in self._tools.values()
        ]

    async def run(self, name: str, arguments: str) -> str:
        """What the model is told; never raises but for cancellation."""
        tool = self._tools[name]
        try:
            async with asyncio.timeout(tool.timeout_s):
                return await tool.run(_parsed(arguments))
        except TimeoutError:
            return _error("the tool did not answer in time")
        except ToolFailure as failure:
            return _error(str(failure))


def as_function(name: str, description: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as /v1/chat/completions wants it."""
    function = {"name": name, "description": description, "parameters": dict(parameters)}
    return {"type": "function", "function": function}


def _parsed(arguments: str) -> dict[str, Any]:
    try:
        parsed = from_json(arguments[:MAX_ARGUMENTS_CHARS] or "{}")
    except ValueError:
        raise ToolFailure("the arguments are not valid JSON") from None
    if not isinstance(parsed, dict):
        raise ToolFailure("the arguments are not an object")
    return parsed


def _query(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in arguments.items()
    }


def _error(text: str) -> str:
    return json.dumps({"error": text})
