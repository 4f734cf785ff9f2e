"""Who hears what becomes of the calls of an engine. Listeners get the id of the call."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str], None]


class CallNews:
    """The listeners. Whoever tells them guards the call against what they raise."""

    def __init__(self) -> None:
        self._connected_listeners: list[Listener] = []
        self._changed_listeners: list[Listener] = []
        self._ended_listeners: list[Listener] = []
        self._here_listeners: list[Listener] = []
        self._away_listeners: list[Listener] = []

    def listen_connected(self, listener: Listener) -> None:
        """Call `listener` with every call whose caller has connected."""
        self._connected_listeners.append(listener)

    def listen_changed(self, listener: Listener) -> None:
        """Call `listener` with every call in which something happened that must not be lost."""
        self._changed_listeners.append(listener)

    def listen_ended(self, listener: Listener) -> None:
        """Call `listener` with every call that is no longer live."""
        self._ended_listeners.append(listener)

    def listen_moved(self, here: Listener, away: Listener) -> None:
        """Call `here` with every call of another process that goes on here, and `away` with every
        call that goes on elsewhere, before it ends here."""
        self._here_listeners.append(here)
        self._away_listeners.append(away)
