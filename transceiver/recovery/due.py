"""Which calls are due to be kept. Pure: `now` in, calls out.

A call is due INTERVAL_S after it was kept, so that no checkpoint grows older than a second, and at
once when something happened in it that cannot be repeated (`changed`), but not before GAP_S are
over. What is due waits its turn, oldest first: nobody may make a process write without end.
"""

from __future__ import annotations

from transceiver.engine.wheel import Wheel

INTERVAL_S = 0.9  # a turn of the writer, and the way to the store, come on top
GAP_S = 0.2
_TICK_S = 0.01


class DueCalls:
    """The live calls by id; bounded by them."""

    def __init__(self, interval_s: float = INTERVAL_S, gap_s: float = GAP_S) -> None:
        self._interval_s = interval_s
        self._gap_s = gap_s
        self._wheel: Wheel[str] = Wheel(_TICK_S)
        self._kept_s: dict[str, float] = {}  # when a call was kept; -inf: never
        self._waiting: dict[str, None] = {}  # due, oldest first

    def __len__(self) -> int:
        return len(self._kept_s)

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._kept_s

    def changed(self, call_id: str, now: float) -> None:
        """Something happened in a call, or it has begun: it is due."""
        kept_s = self._kept_s.setdefault(call_id, float("-inf"))
        if call_id in self._waiting:
            return
        if now >= kept_s + self._gap_s:
            self._wheel.cancel(call_id)
            self._waiting[call_id] = None
        else:
            self._wheel.schedule(call_id, kept_s + self._gap_s)

    def take(self, now: float, most: int) -> list[str]:
        """Up to `most` calls that are due; they are kept now, unless `failed` says otherwise."""
        self._waiting.update(dict.fromkeys(self._wheel.expire(now)))
        taken = [call_id for call_id, _ in zip(self._waiting, range(most), strict=False)]
        for call_id in taken:
            del self._waiting[call_id]
            self._kept_s[call_id] = now
            self._wheel.schedule(call_id, now + self._interval_s)
        return taken

    def all_due(self) -> None:
        """Nothing that was kept may be there any more."""
        for call_id in self._kept_s:
            self._wheel.cancel(call_id)
            self._waiting[call_id] = None

    def failed(self, calls: list[str]) -> None:
        """What was taken was not kept: it comes first the next time."""
        again = {call_id: None for call_id in calls if call_id in self._kept_s}
        for call_id in again:
            self._wheel.cancel(call_id)
        self._waiting = again | self._waiting

    def forget(self, call_id: str) -> None:
        """The call is over, or somewhere else."""
        self._kept_s.pop(call_id, None)
        self._waiting.pop(call_id, None)
        self._wheel.cancel(call_id)
