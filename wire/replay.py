"""Replay protection for the trunk: it remembers which datagrams of which sender were seen.

Each sender has a window over its count, as RFC 4303 §3.4.3 describes it, in serial arithmetic
because the count wraps. The time field says what a wrapped count cannot say: that a datagram is
old. It is compared with the newest time of the same sender, so a clock that steps cuts nobody off.
Only the first datagram of a sender is compared with our own clock. Otherwise a recording of a
process that ended long ago could open a window of its own.
"""

from __future__ import annotations

from collections import OrderedDict

from wire.errors import WireError

WINDOW = 1024  # datagrams that may overtake one another
FRESH_S = 30  # clocks of one cluster agree far better than this
MAX_SENDERS = 4096  # relay workers or transceivers that one process hears


class ReplayWindow:
    """Accepts each (sender, count) once. Bounded: the sender silent longest is forgotten."""

    def __init__(self, max_senders: int = MAX_SENDERS, fresh_s: int = FRESH_S) -> None:
        self._max_senders = max_senders
        self._fresh_s = fresh_s
        # Per sender: highest count, bitmap of that and the WINDOW - 1 below it, newest time.
        self._seen: OrderedDict[int, tuple[int, int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def accept(self, sender: int, time_s: int, count: int, unix_s: int) -> None:
        """Note the datagram, or raise WireError: `trunk_replay`, `trunk_stale` (too old)."""
        entry = self._seen.get(sender)
        if entry is None:
            self._admit(sender, time_s, count, unix_s)
            return
        highest, bitmap, newest_s = entry
        if time_s < newest_s - self._fresh_s:
            raise WireError("trunk_stale")
        ahead = (count - highest) & 0xFFFFFFFF
        if 0 < ahead < 0x80000000:
            bitmap = (bitmap << ahead | 1) & _MASK if ahead < WINDOW else 1
            self._seen[sender] = (count, bitmap, max(newest_s, time_s))
            self._seen.move_to_end(sender)
            return
        behind = -ahead & 0xFFFFFFFF
        if behind >= WINDOW or bitmap >> behind & 1:
            raise WireError("trunk_replay")
        self._seen[sender] = (highest, bitmap | 1 << behind, newest_s)

    def _admit(self, sender: int, time_s: int, count: int, unix_s: int) -> None:
        if abs(unix_s - time_s) > self._fresh_s:
            raise WireError("trunk_stale")
        if len(self._seen) >= self._max_senders:
            self._seen.popitem(last=False)
        self._seen[sender] = (count, 1, time_s)


_MASK = (1 << WINDOW) - 1
