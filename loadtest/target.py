"""What is called: a Trunkline at a URL, or one that is started for the run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from launcher import Stack, StackSettings


@dataclass(frozen=True)
class Target:
    """Where calls go. `stack` is there when the run started it itself."""

    url: str
    api_key: str = field(repr=False)
    stack: Stack | None = None


@asynccontextmanager
async def open_target(
    url: str | None, api_key: str | None, variables: Mapping[str, str]
) -> AsyncIterator[Target]:
    """Yield the given target, or start a stack with `variables` and yield that.

    Raises launcher.StartupError.
    """
    if url is not None:
        yield Target(url.rstrip("/"), api_key or "")
        return
    async with Stack(StackSettings(variables)) as stack:
        yield Target(stack.console_url, stack.api_key, stack)
