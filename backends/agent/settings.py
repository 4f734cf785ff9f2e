"""The settings of every agent, whatever its models are."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationError

from backends.agent.tools import HttpTool
from backends.settings import BackendSettings
from fleet.settings import Address, within

MAX_TOOLS = 16
INSTRUCTIONS = (
    "You are a friendly assistant on the phone. You speak English. "
    "You answer in one or two short sentences."
)


class PhrasedTool(HttpTool):
    """An HTTP tool with the words that ask for it and the sentence that tells its answer."""

    phrases: tuple[str, ...] = ()
    say: str = "{answer}"


def _tools(value: Any) -> tuple[PhrasedTool, ...]:
    if isinstance(value, tuple):
        return value
    try:
        listed = json.loads(value)
        tools = tuple(PhrasedTool.model_validate_json(json.dumps(tool)) for tool in listed)
        for phrase in (phrase for tool in tools for phrase in tool.phrases):
            re.compile(phrase)
    except (ValueError, TypeError, RecursionError, re.error) as error:
        raise ValueError(f"not a JSON list of HTTP tools ({_reason(error)})") from None
    if len(tools) > MAX_TOOLS or len({tool.name for tool in tools}) != len(tools):
        raise ValueError(f"at most {MAX_TOOLS} tools, each name once")
    return tools


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lower()
    return "malformed"


class AgentSettings(BackendSettings):
    """Settings of an agent."""

    backend_metrics: Address | None = Field(
        None, description="HTTP: Prometheus metrics at /metrics; empty serves none"
    )
    backend_max_calls: Annotated[int, within("a number of calls", 1, 1000)] = Field(
        32, description="calls of one transceiver at once, 1-1000"
    )
    backend_instructions: str = Field(INSTRUCTIONS, description="what the chat model is told first")
    backend_greeting: str = Field("", description="said when a call begins; empty says nothing")
    backend_tools: Annotated[tuple[PhrasedTool, ...], PlainValidator(_tools)] = Field(
        (),
        description="HTTP tools, a JSON list of objects with name, url, description, parameters, "
        "method, headers, timeout_s, phrases, say",
        json_schema_extra={"default": "none"},
    )
