"""How far the caller's ear is, as a backend counts that came in the middle of a call. Pure.

Its frames come behind those of the backend before it, which are still played. So its first frame
has a number in the stream, and it is told of what lies behind that number alone.

    stream   │ frames of the one before ── played │ queued │ its own ── played │ queued │
             0                                          first                          now
"""

from __future__ import annotations

from typing import Self

from transceiver.rtp.send import PacedSender, Playout


class EarSince:
    """Of `sender`; the backend's first frame is number `first`.

    `cleared` frames of others were forgotten unsent, and others were `given` so many in all.
    """

    def __init__(
        self, sender: PacedSender, first: int = 0, cleared: int = 0, given: int = 0
    ) -> None:
        self.first, self.cleared, self.given = first, cleared, given
        self._sender = sender

    @classmethod
    def now(cls, sender: PacedSender) -> Self:
        """For a backend whose frames come behind all that the sender was given."""
        waiting = len(sender)
        return cls(sender, sender.frames + waiting, sender.cleared, sender.used + waiting)

    def clear(self) -> None:
        """Forget what is queued, of whichever backend."""
        sender = self._sender
        others = max(0, self.first - sender.frames)
        self.first -= others  # they never play, so the next frame has their number
        self.cleared += others
        sender.clear()

    def carry_on(self, sent: int, acked: int, cleared: int) -> None:
        """Another process was further with this backend's frames: forget what is past."""
        if sent or cleared:
            first = self.first
            self._sender.carry_on(first + sent, first + acked, self.cleared + cleared)

    def playout(self) -> Playout:
        """The four counts, of this backend's frames."""
        sent, acked, cleared, queued = self._sender.playout()
        return Playout(
            max(0, sent - self.first),
            max(0, acked - self.first),
            cleared - self.cleared,
            queued - max(0, self.first - sent),
        )
