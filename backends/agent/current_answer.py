"""The answer that is being given, and when its turn is reported. Pure.

given ─▶ sent ─▶ left: the turn is told ─▶ over: told once more, final
  └──────────── no sound of it ──────────▶ over: told, final
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from backends.agent.reply import Reply
from backends.agent.stages import TurnRecord

Publish = Callable[[TurnRecord], None]


class CurrentAnswer:
    """An answer from the moment it is given until its turn is over.

    `publish` takes the record at most twice: when the answer's first frame has left for the caller,
    and when nothing more will come of it. What is over says nothing more.
    """

    def __init__(self, reply: Reply, record: TurnRecord, publish: Publish) -> None:
        self.reply = reply
        self.record = record
        self.item_id = ""  # of the message that is being said
        self.clauses = 0  # that were begun to be said
        self.said = False  # all sound was sent
        self._publish = publish
        self._first_frame: int | None = None

    @property
    def sounds(self) -> bool:
        """Whether a frame of it was sent."""
        return self._first_frame is not None

    def sent(self, frame: int, at_s: float) -> None:
        """A frame of it went to the transceiver, number `frame` of the call (from 0)."""
        if self._first_frame is None:
            self._first_frame = frame
            self.record.stamps.note("sent", at_s)

    def left(self, frames: int, at_s: float) -> None:
        """`frames` frames of the call have left for the caller, this answer's among them or not."""
        first, record = self._first_frame, self.record
        if record.final or record.stamps.out is not None or first is None or frames <= first:
            return
        record.stamps.note("out", at_s)
        self._show()

    def over(self, *, interrupted: bool = False) -> None:
        """It was heard to its end, had no sound, or was given up (`interrupted`)."""
        if not self.record.final:
            self.record.final = True
            self.record.interrupted = interrupted
            self._show()

    def _show(self) -> None:
        for stage, at_s in asdict(self.reply.stamps).items():
            if at_s is not None:
                self.record.stamps.note(stage, at_s)
        self.record.tools = list(self.reply.tools_run)
        self._publish(self.record)
