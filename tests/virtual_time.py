"""An event loop whose clock jumps to the next timer: hours of protocol in seconds, always the same.

For code that does no I/O of its own; what a callback computes takes no virtual time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

Run = Callable[[Coroutine[Any, Any, None]], None]


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: it tells how long the loop would have, and the loop's clock jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the test waits for something that no timer will bring")
        self.skipped_s += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time."""

    def __init__(self) -> None:
        self.jumps = _JumpingSelector()
        super().__init__(self.jumps)

    def time(self) -> float:
        return self.jumps.skipped_s

    def live_timers(self) -> int:
        return sum(not handle.cancelled() for handle in vars(self)["_scheduled"])


@contextmanager
def virtual_loop() -> Iterator[Run]:
    """Run a coroutine on a virtual loop; what is left of it, or was reported, is a failure."""
    loop = JumpingLoop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield loop.run_until_complete
    tasks, timers = asyncio.all_tasks(loop), loop.live_timers()
    loop.close()
    assert (tasks, timers, complaints) == (set(), 0, [])
