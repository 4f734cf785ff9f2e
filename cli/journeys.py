"""Which calls are at another node than a moment before: they moved, or were taken over. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from trunkline.v1 import admin_pb2

SHOWN = 10
REMEMBERED = 60  # rounds: a call of a lost node is nowhere until somebody has it
MOVING = "moving"


class Journey(NamedTuple):
    """A call, the name of the node that it left, and of the one it is at: "" while it moves."""

    call_id: str
    left: str
    at: str


class Journeys:
    """Looks at the calls of all nodes, round by round."""

    def __init__(self) -> None:
        self._round = 0
        self._last: dict[str, tuple[str, int]] = {}
        self._ended: deque[Journey] = deque(maxlen=SHOWN)

    def saw(self, calls: Iterable[tuple[str, admin_pb2.Call]]) -> list[Journey]:
        """The calls of this round, each with its node. Those that move now, then the newest."""
        self._round += 1
        moving = []
        for node, call in calls:
            if call.state == MOVING:
                moving.append(Journey(call.call_id, node, ""))
            else:
                self._is_at(call.call_id, node)
        self._forget()
        return [*moving[:SHOWN], *reversed(self._ended)]

    def _is_at(self, call_id: str, node: str) -> None:
        before, _ = self._last.get(call_id, (node, 0))
        if before != node:
            self._ended.append(Journey(call_id, before, node))
        self._last[call_id] = node, self._round

    def _forget(self) -> None:
        oldest = self._round - REMEMBERED
        self._last = {name: at for name, at in self._last.items() if at[1] > oldest}
