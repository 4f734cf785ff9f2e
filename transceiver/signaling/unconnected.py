"""Calls that were asked for and whose callers have not connected yet, shared among tenants.

An offer costs its sender nothing and a place here for as long as a browser may take to connect. So
these places are shared out (`transceiver.signaling.shares`): two thousand offers that never connect
hold half of what is free, and leave the other half to other tenants. It is the first thing that is
looked at, before an offer is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from transceiver.call.principal import Principal
from transceiver.signaling.problem import Problem
from transceiver.signaling.shares import Shares


class CallPlaces(Protocol):
    """What is needed of the engine."""

    @property
    def free_places(self) -> int:
        """How many calls more it takes now."""

    def find(self, call_id: str) -> object | None:
        """The live call of that id."""

    def listen_connected(self, listener: Callable[[str], None]) -> None:
        """Hear of every call whose caller has connected."""

    def listen_ended(self, listener: Callable[[str], None]) -> None:
        """Hear of every call that is no longer live."""


class Unconnected:
    """Whose they are. Bounded by the places there are, and by the requests that are open."""

    def __init__(self, engine: CallPlaces) -> None:
        self._engine = engine
        self._shares = Shares()
        self._opening = 0  # asked for, and no call of the engine yet
        self._waiting: dict[str, Principal] = {}  # by call
        engine.listen_connected(self._over)
        engine.listen_ended(self._over)

    def __len__(self) -> int:
        return self._opening + len(self._waiting)

    @contextmanager
    def opening(self, principal: Principal) -> Iterator[Callable[[str], None]]:
        """A place for a call that is about to be made; tell its id when it is.

        Raises Problem limit_unconnected.
        """
        if not self._shares.may_take(principal, self._engine.free_places - self._opening):
            detail = "Connect the calls that were placed, or try again when they have ended."
            raise Problem("limit_unconnected", detail)
        self._shares.take(principal)
        self._opening += 1
        placed: list[str] = []
        try:
            yield placed.append
        finally:
            self._opening -= 1
            if placed and self._engine.find(placed[0]) is not None:
                self._waiting[placed[0]] = principal
            else:
                self._shares.give_back(principal)

    def _over(self, call_id: str) -> None:
        principal = self._waiting.pop(call_id, None)
        if principal is not None:
            self._shares.give_back(principal)
