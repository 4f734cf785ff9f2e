"""Shows operators the log of a process while it is written, after redaction."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from structlog.typing import EventDict, WrappedLogger

MAX_WATCHERS = 8
MAX_WAITING = 256  # events of one watcher; what comes on top is counted as missed
MAX_FIELD_CHARS = 500
_OWN = frozenset({"event", "level", "timestamp", "process"})


@dataclass(frozen=True)
class LoggedEvent:
    """One line. `missed` events were lost before it, because the watcher was too slow."""

    unix_ms: int
    level: str
    name: str
    fields: dict[str, str]
    missed: int = 0


class TooManyWatchers(Exception):  # noqa: N818 - says what happened
    """MAX_WATCHERS are watching."""


class _Watcher:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.thread = threading.get_ident()
        self.waiting: asyncio.Queue[LoggedEvent] = asyncio.Queue(MAX_WAITING)
        self.missed = 0


class EventTap:
    """A processor for structlog that also tells watchers; costs nothing while there are none."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Tell the watchers of this thread's loop, and pass the line on unchanged."""
        if self._watchers:
            self._tell(event)
        return event

    async def watch(self, prefix: str = "") -> AsyncGenerator[LoggedEvent, None]:
        """Events whose names begin with `prefix`, from now on. Raises TooManyWatchers."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise TooManyWatchers(f"{MAX_WATCHERS} are watching already")
        watcher = _Watcher(prefix)
        self._watchers.add(watcher)
        try:
            while True:
                yield await watcher.waiting.get()
        finally:
            self._watchers.discard(watcher)

    def _tell(self, event: EventDict) -> None:
        name, thread = str(event.get("event", "")), threading.get_ident()
        for watcher in self._watchers:
            # A queue belongs to its loop's thread; other threads only log what a library says.
            if watcher.thread != thread or not name.startswith(watcher.prefix):
                continue
            if watcher.waiting.full():
                watcher.missed += 1
                continue
            watcher.waiting.put_nowait(_logged(name, event, watcher.missed))
            watcher.missed = 0


def _logged(name: str, event: EventDict, missed: int) -> LoggedEvent:
    fields = {key: str(value)[:MAX_FIELD_CHARS] for key, value in event.items() if key not in _OWN}
    return LoggedEvent(int(time.time() * 1000), str(event.get("level", "")), name, fields, missed)
