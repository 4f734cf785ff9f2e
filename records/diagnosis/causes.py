"""The closed list of what can have gone wrong in a call, and which of it follows from what."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """A word for programs; `title` is for people."""

    LATE_MODEL = "late_model"
    MODEL_BROKE_OFF = "model_broke_off"
    HANGING_TOOL = "hanging_tool"
    STT_HEARD_NOTHING = "stt_heard_nothing"
    LOSS_IN = "loss_in"
    LOSS_OUT = "loss_out"
    PATH_CHANGED = "path_changed"
    BROWSER_STOPPED = "browser_stopped_sending"
    BACKEND_KILLED = "backend_killed"
    BACKEND_REFUSED = "backend_refused"
    NODE_MOVED = "node_moved"
    BUDGET_USED_UP = "budget_used_up"
    CALLER_HUNG_UP = "caller_hung_up"
    DTLS_FAILED = "dtls_failed"
    RATE_LIMITED = "rate_limited"
    PROMPT_CHANGED = "prompt_changed"
    OWN_FAULT = "own_fault"
    RECORD_HOLE = "record_hole"
    NOTHING_WRONG = "nothing_wrong"

    @property
    def title(self) -> str:
        """A few words for a headline."""
        return TITLES[self]


TITLES = {
    Cause.LATE_MODEL: "The model answered late",
    Cause.MODEL_BROKE_OFF: "The model broke off",
    Cause.HANGING_TOOL: "A tool hung",
    Cause.STT_HEARD_NOTHING: "Speech recognition heard nothing",
    Cause.LOSS_IN: "Packets were lost on the way in",
    Cause.LOSS_OUT: "Packets were lost on the way out",
    Cause.PATH_CHANGED: "The caller's network path changed",
    Cause.BROWSER_STOPPED: "The caller's browser stopped sending",
    Cause.BACKEND_KILLED: "The backend was lost",
    Cause.BACKEND_REFUSED: "The backend did not take the call",
    Cause.NODE_MOVED: "The node of the call moved or died",
    Cause.BUDGET_USED_UP: "A budget was used up",
    Cause.CALLER_HUNG_UP: "The caller hung up in the middle",
    Cause.DTLS_FAILED: "The DTLS handshake failed",
    Cause.RATE_LIMITED: "A model was rate limited",
    Cause.PROMPT_CHANGED: "The prompt was changed shortly before",
    Cause.OWN_FAULT: "Trunkline itself failed",
    Cause.RECORD_HOLE: "The record has a hole",
    Cause.NOTHING_WRONG: "Nothing went wrong",
}

_NETWORK = frozenset({Cause.LOSS_IN, Cause.LOSS_OUT, Cause.BROWSER_STOPPED})
_MODEL = frozenset({Cause.MODEL_BROKE_OFF, Cause.LATE_MODEL})

NEARBY: dict[Cause, frozenset[Cause]] = {
    Cause.NODE_MOVED: _NETWORK | {Cause.PATH_CHANGED, Cause.RECORD_HOLE, Cause.LATE_MODEL},
    Cause.PATH_CHANGED: _NETWORK,
    Cause.BACKEND_KILLED: _MODEL | {Cause.HANGING_TOOL, Cause.STT_HEARD_NOTHING},
    Cause.RATE_LIMITED: _MODEL | {Cause.STT_HEARD_NOTHING},
    Cause.HANGING_TOOL: _MODEL,
    Cause.MODEL_BROKE_OFF: frozenset({Cause.LATE_MODEL}),
    Cause.BROWSER_STOPPED: frozenset({Cause.STT_HEARD_NOTHING, Cause.LATE_MODEL, Cause.LOSS_IN}),
    Cause.STT_HEARD_NOTHING: frozenset({Cause.LATE_MODEL}),
    Cause.LOSS_IN: frozenset({Cause.STT_HEARD_NOTHING}),
    Cause.OWN_FAULT: frozenset({Cause.BACKEND_KILLED, Cause.MODEL_BROKE_OFF}),
}
"""What a cause brings with it when both are at the same time: a rate limit makes a model late."""

WEAK = frozenset({Cause.CALLER_HUNG_UP, Cause.RECORD_HOLE, Cause.NOTHING_WRONG})
"""Causes that explain no other. Every other one explains that the caller hung up, whenever."""


def explains(cause: Cause, other: Cause) -> bool:
    """Whether `other` follows from `cause` however far apart they are."""
    return other is Cause.CALLER_HUNG_UP and cause not in WEAK
