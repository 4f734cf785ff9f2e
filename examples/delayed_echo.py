"""Callers hear themselves a second later: Opus packets, kept and returned without decoding them.

make run BACKEND=examples/delayed_echo.py:delayed_echo
"""

from __future__ import annotations

from collections import deque

from trunkline.backend import Audio, Call, serve

DELAY_TICKS = 48_000  # one second


async def delayed_echo(call: Call) -> None:
    """Keep a second of sound; what is older goes back."""
    kept: deque[Audio] = deque()
    kept_ticks = 0
    async for event in call.events():
        if not isinstance(event, Audio):
            continue
        kept.append(event)
        kept_ticks += event.duration
        while kept_ticks > DELAY_TICKS:
            oldest = kept.popleft()
            kept_ticks -= oldest.duration
            await call.send_audio(oldest.payload, oldest.duration)


if __name__ == "__main__":
    serve(delayed_echo)
