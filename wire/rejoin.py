"""Puts client datagrams together again that were too long for one trunk datagram.

A relay sends such a datagram as two frames: a HEAD, alone in its trunk datagram, and a TAIL, first
in the sender's next one (`wire.trunk`). So what has to be kept is one head a sender, and only until
that sender's next datagram. A head or tail that comes alone, because the network lost or reordered
the other, is lost as the whole datagram would have been.
"""

from __future__ import annotations

from collections import OrderedDict

from wire.replay import MAX_SENDERS
from wire.trunk import CONTROL, Datagram, FrameType

Frames = tuple[tuple[bytes, bytes], ...]

_COUNT_MASK = 0xFFFF_FFFF


class Rejoin:
    """Heads that wait for their tails: one for each of at most `max_senders` senders."""

    def __init__(self, max_senders: int = MAX_SENDERS) -> None:
        self._max_senders = max_senders
        self._heads: OrderedDict[int, Datagram] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def frames(self, datagram: Datagram) -> tuple[Frames, int]:
        """The whole client datagrams that can be had now, in order, and how many were lost.

        A datagram of control frames has none.
        """
        head = self._heads.pop(datagram.sender, None) if self._heads else None
        if datagram.first is FrameType.DATAGRAM:
            return datagram.frames, head is not None
        if datagram.first is FrameType.HEAD:
            self._keep(datagram)
            return (), head is not None
        if datagram.first in CONTROL:
            return (), head is not None
        (address, end), *others = datagram.frames
        if head is None or not _belong(head, datagram):
            return tuple(others), 1
        [(_, start)] = head.frames
        return ((address, start + end), *others), 0

    def _keep(self, head: Datagram) -> None:
        if len(self._heads) >= self._max_senders:
            self._heads.popitem(last=False)
        self._heads[head.sender] = head


def _belong(head: Datagram, tail: Datagram) -> bool:
    """Whether one follows the other, and both are of one client."""
    follows = tail.count == head.count + 1 & _COUNT_MASK
    return follows and tail.frames[0][0] == head.frames[0][0]
