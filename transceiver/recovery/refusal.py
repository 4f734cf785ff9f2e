"""Why a call of a lost process does not go on here: every reason there is."""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Each reason, as logs and counters have it (`takeover_…`)."""

    TOO_OLD = "too_old"  # numbers that its owner may have used since cannot be told
    UNREADABLE = "unreadable"  # not sealed by this fleet for this call, cut, or gone
    VERSION = "version"  # of a version that this one does not read
    NOT_RESUMABLE = "not_resumable"  # what it was secured with cannot be resumed here
    HERE_ALREADY = "here_already"
    NO_ROOM = "no_room"
    NO_BACKEND = "no_backend"
    BACKEND_REFUSED = "backend_refused"
    LATE = "late"  # another process has it by now

    @property
    def final(self) -> bool:
        """Whether nobody else could take the call either."""
        return self in _FINAL


_FINAL = frozenset({Refusal.TOO_OLD, Refusal.UNREADABLE, Refusal.HERE_ALREADY})


class Refused(Exception):  # noqa: N818 - a verdict, not a mistake
    """A call that does not go on here, and why."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason
