"""One move as the old owner sees it: who may speak for the call now? Pure.

    held ── prepare: yes ──▶ handed off ── commit: live ─────────▶ moved
     │                            │ ├───── commit: not live ─────▶ taken back
     │                            │ ├───── commit: dead ─────────▶ taken back, its numbers reserved
     │                            │ └───── no answer for ever ───▶ in doubt
     └── prepare: no, or no answer, or the call had to speak ────▶ stayed

Theory of operation. The call is silent here from the first moment on. It is the old owner's until
the word to go live has been sent, and the new owner's from then on, unless the new owner says that
it is not. The new owner can say so because it says nothing for a call before that word, and because
a word that comes too late finds nothing: what it has forgotten never goes live. A process that is
dead says nothing either, but it may have gone live before it died: its numbers are passed over. Who
does not answer may be live, so nobody else may be; then the takeover of lost calls decides.
"""

from __future__ import annotations

from enum import Enum, StrEnum

from fleet.backoff import Pace

COMMIT_PACE = Pace(first_s=0.05, longest_s=1.0)  # between two words to go live
COMMIT_PATIENCE_S = 20.0  # then consent of the caller runs out (RFC 7675: 30 s)


class Verdict(StrEnum):
    """What the new owner says of a call that it was told to go live with, or to forget."""

    LIVE = "live"
    NOT_LIVE = "not_live"
    DEAD = "dead"  # somebody who must know says that the process is no more
    SILENT = "silent"  # no answer: it may be anything


class Stage(Enum):
    """Where a move is; the last four are its ends."""

    HELD = "held"
    HANDED_OFF = "handed off"
    MOVED = "moved"
    STAYED = "stayed"
    TAKEN_BACK = "taken back"
    IN_DOUBT = "in doubt"


class Departure:
    """One move. `stage` says who may speak: here in STAYED and TAKEN_BACK, there in MOVED."""

    def __init__(self) -> None:
        self.stage = Stage.HELD
        self.target_died = False  # so that its numbers must be passed over
        self._began_s = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self.stage not in (Stage.HELD, Stage.HANDED_OFF)

    def prepared(self, *, accepted: bool, still_held: bool, now: float) -> Stage:
        """The new owner has the call, or has not; `still_held`: it has said nothing meanwhile."""
        if self.stage is Stage.HELD:
            self.stage = Stage.HANDED_OFF if accepted and still_held else Stage.STAYED
            self._began_s = now
        return self.stage

    def answered(self, verdict: Verdict, now: float) -> Stage:
        """What came of the word to go live."""
        if self.stage is Stage.HANDED_OFF:
            self.stage = self._after(verdict, now)
            self.target_died = verdict is Verdict.DEAD
        return self.stage

    def _after(self, verdict: Verdict, now: float) -> Stage:
        match verdict:
            case Verdict.LIVE:
                return Stage.MOVED
            case Verdict.NOT_LIVE | Verdict.DEAD:
                return Stage.TAKEN_BACK
            case Verdict.SILENT:
                patient = now - self._began_s < COMMIT_PATIENCE_S
                return Stage.HANDED_OFF if patient else Stage.IN_DOUBT
