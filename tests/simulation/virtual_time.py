"""An event loop whose clock does not wait: it jumps to whatever is due next.

So asyncio code with time-outs and pauses runs as fast as it computes, and the same way every time.
"""

from __future__ import annotations

import asyncio
import selectors


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop without I/O. `time` begins at 0 and is what was waited for, in seconds."""

    def __init__(self) -> None:
        self._passed_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._passed_s

    def jump(self, seconds: float) -> None:
        """Nothing is due before that."""
        self._passed_s += seconds


class _Jump(selectors.SelectSelector):
    """Waits by moving the clock; has no descriptor to look at."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is due: the simulation would wait for ever")
        self._loop.jump(timeout)
        return []
