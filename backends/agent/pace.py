"""Limits how long a model's stream may be silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from backends.agent.models import ModelFailure, Stage

Part = TypeVar("Part")


async def paced(
    parts: AsyncIterator[Part], stage: Stage, first_s: float, next_s: float
) -> AsyncIterator[Part]:
    """The parts as they come. Raises ModelFailure `timeout` when one takes too long.

    However it is left, the stream is closed.
    """
    limit_s = first_s
    async with aclosing(parts):  # type: ignore[type-var]
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ModelFailure(stage, "timeout") from None
            yield part
            limit_s = next_s
