"""Who else reads and writes the events of one call.

An application server joins a call that its page placed. It gets every event that the caller gets,
and may send what the caller may send. A call without listeners pays one comparison for an event.
"""

from __future__ import annotations

from typing import Protocol

from transceiver.faults import every_step

EVENTS_LABEL = "oai-events"
MAX_LISTENERS = 4  # of one call
MAX_OPENING_CHARS = 256 * 1024

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
        self.opening = ""

    def join(self, listener: Listener) -> bool:
        """Let a listener hear what follows; False above MAX_LISTENERS.

        It hears first what a client hears when it connects: the session as it is now.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            return False
        self._listeners.append(listener)
        if self.opening:
            listener.hear(self.opening)
        return True

    def leave(self, listener: Listener) -> None:
        """Stop that; twice does nothing."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def reopen(self, opening: str) -> None:
        """Go on with what another process has told, within the bound."""
        self.opening = opening[:MAX_OPENING_CHARS]

    def tell(self, text: str) -> None:
        """The caller is sent an event."""
        if text.startswith((_CREATED, _UPDATED)) and len(text) <= MAX_OPENING_CHARS:
            self.opening = text.replace(_UPDATED, _CREATED, 1)
        for listener in self._listeners:
            listener.hear(text)

    def end(self) -> None:
        """The call is over, or goes on in another process."""
        listeners, self._listeners = self._listeners, []
        every_step(*(listener.call_ended for listener in listeners))
