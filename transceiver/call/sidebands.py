"""Who else reads and writes the events of one call.

An application server joins a call that its page placed. It gets every event that the caller gets,
and may send what the caller may send. A call without listeners pays one comparison for an event.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from transceiver.faults import every_step

EVENTS_LABEL = "oai-events"
MAX_LISTENERS = 4  # of one call
MAX_OPENING_CHARS = 256 * 1024
COMING_S = 5.0  # for the listeners of a moved call to come again; it takes them a few ms
MAX_MISSED = 512  # events kept for them; as many as a side band may be behind

_CREATED = '{"type":"session.created",'
_UPDATED = '{"type":"session.updated",'


class Listener(Protocol):
    """One side band. Neither may raise or wait."""

    def hear(self, text: str) -> None:
        """An event that the caller is sent."""

    def call_ended(self) -> None:
        """Nothing follows."""


class Sidebands:
    """The listeners of one call, and the event that tells a new one what the session is."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._coming = 0  # of a moved call: listeners that have not come again
        self._missed: list[str] = []  # what they were to hear meanwhile
        self._missed_until_s = 0.0
        self.opening = ""

    @property
    def expected(self) -> int:
        """How many would come again if the call moved now."""
        return len(self._listeners) + max(0, self._coming)

    @property
    def missed(self) -> tuple[str, ...]:
        """What those have missed who have not come again yet."""
        return tuple(self._missed)

    def join(self, listener: Listener, *, again: bool = False) -> bool:
        """Let a listener hear what follows; False above MAX_LISTENERS.

        It hears first what a client hears when it connects: the session as it is now. One that
        comes `again`, to a call that has moved, hears what it has missed instead.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            return False
        self._listeners.append(listener)
        if again:
            self._catch_up(listener)
        elif self.opening:
            listener.hear(self.opening)
        return True

    def _catch_up(self, listener: Listener) -> None:
        for text in self._missed:
            listener.hear(text)
        self._coming -= 1
        if self._coming <= 0:
            self._missed.clear()

    def _miss(self, text: str) -> None:
        if len(self._missed) >= MAX_MISSED or time.monotonic() > self._missed_until_s:
            self._coming = 0  # they do not come, or would be closed for being slow
            self._missed.clear()
        else:
            self._missed.append(text)

    def leave(self, listener: Listener) -> None:
        """Stop that; twice does nothing."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def reopen(self, opening: str, listeners: int, missed: Sequence[str]) -> None:
        """Go on with what another process has told; so many listeners come again."""
        self._missed = list(missed[:MAX_MISSED])
        self.opening = opening[:MAX_OPENING_CHARS]
        self._coming = min(listeners, MAX_LISTENERS)
        self._missed_until_s = time.monotonic() + COMING_S

    def tell(self, text: str) -> None:
        """The caller is sent an event."""
        if text.startswith((_CREATED, _UPDATED)) and len(text) <= MAX_OPENING_CHARS:
            self.opening = text.replace(_UPDATED, _CREATED, 1)
        if self._coming > 0:
            self._miss(text)
        for listener in self._listeners:
            listener.hear(text)

    def end(self) -> None:
        """The call is over, or goes on in another process."""
        listeners, self._listeners = self._listeners, []
        every_step(*(listener.call_ended for listener in listeners))
