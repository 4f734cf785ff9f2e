"""Gives each piece of signaling a turn of the event loop, so that it holds no media up.

The loop runs all that is ready before it looks at its sockets again. Fifty offers that come at once
would be fifty pieces of work in a row, and the sound of all live calls would wait behind them:

    without   offer offer offer … offer │ sockets, wheel │
    with      offer │ sockets, wheel │ offer │ sockets, wheel │ …

A turn that nobody else wants costs nothing but a callback. Where many wait, there may be a pause
between two turns: it leaves cores to those who carry the media.
"""

from __future__ import annotations

import asyncio
from collections import deque


class LoopTurns:
    """Deals out turns, first come first served; those who wait are as many as requests are open.

    `pause_s` is what the next in line waits after a turn; loops count in milliseconds.
    """

    def __init__(self, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self._taken = False  # the turn that runs, or the next one
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def mine(self) -> None:
        """Return in a turn that nobody else has been given."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            self._go_on()
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else its request was cancelled
                turn.set_result(None)
                self._go_on()
                return
        self._taken = False

    def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        if self._pause_s:
            loop.call_later(self._pause_s, self._next)
        else:
            loop.call_soon(self._next)
