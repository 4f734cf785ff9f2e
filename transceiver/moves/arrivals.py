"""The moves to this process: which calls are prepared, which went live, which were forgotten. Pure.

    prepare ─▶ prepared ── commit ──▶ live (remembered for REMEMBERED_S)
                  └── abort, or PREPARED_S without a word ──▶ forgotten: as if it had never been

A move has an id of its own, so that a late word of an earlier move of a call is none of this one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

PREPARED_S = 5.0
REMEMBERED_S = 60.0  # three times as long as an old owner asks
MAX_REMEMBERED = 4096  # beyond it nothing is prepared: an answer would have to be forgotten


@dataclass(frozen=True)
class _Prepared:
    call_id: str
    until_s: float


class Arrivals:
    """Bounded by MAX_REMEMBERED. Call `expire` before each of the other verbs."""

    def __init__(self) -> None:
        self._prepared: OrderedDict[str, _Prepared] = OrderedDict()
        self._live: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prepared)

    @property
    def full(self) -> bool:
        """Whether nothing more can be prepared now."""
        return len(self._prepared) + len(self._live) >= MAX_REMEMBERED

    def prepare(self, move: str, call_id: str, now: float) -> bool:
        """The call of that move is here and silent; False when there are too many, or it was said
        before."""
        if self.full or move in self._prepared or move in self._live:
            return False
        self._prepared[move] = _Prepared(call_id, now + PREPARED_S)
        return True

    def commit(self, move: str) -> str | None:
        """The call to go live with; None: nothing is to be done (see `is_live`)."""
        prepared = self._prepared.pop(move, None)
        return prepared.call_id if prepared is not None else None

    def went_live(self, move: str, now: float) -> None:
        """The call of a committed move speaks from now on."""
        self._live[move] = now + REMEMBERED_S

    def is_live(self, move: str) -> bool:
        """Whether the call of that move went live here, whatever became of it since."""
        return move in self._live

    def abort(self, move: str) -> str | None:
        """The call to forget; None: there is none, or it went live."""
        return self.commit(move)

    def expire(self, now: float) -> list[str]:
        """Calls that nobody said a word about in time: to be forgotten."""
        while self._live and next(iter(self._live.values())) <= now:
            self._live.popitem(last=False)
        gone = []
        while self._prepared and next(iter(self._prepared.values())).until_s <= now:
            gone.append(self._prepared.popitem(last=False)[1].call_id)
        return gone

    def due_s(self) -> float | None:
        """When `expire` may have something."""
        return next(iter(self._prepared.values())).until_s if self._prepared else None
