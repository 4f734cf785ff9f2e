"""Asks the models at a probable end of a turn, within a bound of time."""

from __future__ import annotations

import asyncio

from backends.agent.models import EndOfTurn, Hearing, ModelFailure


async def final_words(hearing: Hearing, timeout_s: float) -> str:
    """What was said in the turn. Raises ModelFailure."""
    try:
        async with asyncio.timeout(timeout_s):
            return await hearing.text(final=True)
    except TimeoutError:
        raise ModelFailure("stt", "timeout") from None


async def melody(end: EndOfTurn | None, call: str, pcm: bytes, timeout_s: float) -> float | None:
    """How likely the turn is complete by how it sounds; None when nobody knows."""
    if end is None:
        return None
    try:
        async with asyncio.timeout(timeout_s):
            return await end.probability(call, pcm)
    except (ModelFailure, TimeoutError):
        return None
