"""How far the caller's ear is, as a backend counts that came in the middle of a call. Pure.

Its frames come behind those of the backend before it, which are still played. So its first frame
has a number in the stream, and it is told of what lies behind that number alone.

    stream   │ frames of the one before ── played │ queued │ its own ── played │ queued │
             0                                          first                          now
"""

from __future__ import annotations

from transceiver.rtp.send import PacedSender, Playout


class EarSince:
    """Counts from the frame that `sender` is given next; from 0 for a sender that has had none."""

    def __init__(self, sender: PacedSender) -> None:
        self._sender = sender
        self._first = sender.frames + len(sender)
        self._cleared = sender.cleared

    def clear(self) -> None:
        """Forget what is queued, of whichever backend."""
        sender = self._sender
        others = max(0, self._first - sender.frames)
        self._first -= others  # they never play, so the next frame has their number
        self._cleared += others
        sender.clear()

    def playout(self) -> Playout:
        """The four counts, of this backend's frames."""
        sent, acked, cleared, queued = self._sender.playout()
        return Playout(
            max(0, sent - self._first),
            max(0, acked - self._first),
            cleared - self._cleared,
            queued - max(0, self._first - sent),
        )
