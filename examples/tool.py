"""Tools that a page calls over its data channel, while the caller hears an echo.

The page sends {"tool": "add", "arguments": {"a": 2, "b": 3}} and gets {"tool": "add", "answer": 5},
or {"tool": …, "error": …}. A tool that takes its time holds nothing else up.

make run BACKEND=examples/tool.py:helper
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from trunkline.backend import Audio, Call, Text, serve

MOST_AT_ONCE = 8


async def add(a: float, b: float) -> float:
    """The sum."""
    return a + b


async def time_utc() -> str:
    """What time it is, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


TOOLS: dict[str, Callable[..., Awaitable[Any]]] = {"add": add, "time": time_utc}


async def run(call: Call, label: str, text: str) -> None:
    """Run what a message asks for, and tell the page."""
    name = None
    try:
        asked = json.loads(text)
        name = asked["tool"]
        told = {"tool": name, "answer": await TOOLS[name](**asked.get("arguments", {}))}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        told = {"tool": name, "error": f"{type(error).__name__}: {error}"}
    await call.send_text(label, json.dumps(told))


async def helper(call: Call) -> None:
    """Echo sound; run each message as a tool, a few at a time."""
    async with asyncio.TaskGroup() as running:
        free = asyncio.Semaphore(MOST_AT_ONCE)
        async for event in call.events():
            if isinstance(event, Audio):
                await call.send_audio(event.payload, event.duration)
            elif isinstance(event, Text):
                await free.acquire()
                task = running.create_task(run(call, event.label, event.text))
                task.add_done_callback(lambda _: free.release())


if __name__ == "__main__":
    serve(helper)
