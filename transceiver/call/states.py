"""The states of a session as one table.

      new ──a check authenticates──▶ connecting ──DTLS is done──▶ connected
       │                                 │                            │
       └────────────── end ──────────────┴──────────── end ───────────┤
                                                                      ▼
                                                                    ended

- new: the answer has left, and the caller has not come. What the backend sends already waits.
- connecting: the caller's address is known, so DTLS runs over it.
- connected: there are SRTP keys, and sound and messages flow.
- ended: the caller was told (BYE, close_notify), and so was the backend. Nothing is left.

A session that is not connected `CONNECT_TIMEOUT_S` after it was made ends; a connected one ends
when consent expires. What the table does not name cannot happen: `follow` raises KeyError.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a session is; the values are what ListCalls shows."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    ENDED = "ended"


class Step(Enum):
    """What moves a session on."""

    CHECKED = "a connectivity check authenticated"
    SECURED = "the DTLS handshake is done"
    END = "the call is over, for whatever reason"


TRANSITIONS = {
    (State.NEW, Step.CHECKED): State.CONNECTING,
    (State.NEW, Step.END): State.ENDED,
    (State.CONNECTING, Step.CHECKED): State.CONNECTING,
    (State.CONNECTING, Step.SECURED): State.CONNECTED,
    (State.CONNECTING, Step.END): State.ENDED,
    (State.CONNECTED, Step.CHECKED): State.CONNECTED,
    (State.CONNECTED, Step.END): State.ENDED,
}

# Why a call ended, as CallEnded of the model link names it.
END_REASONS = frozenset(
    {"hangup", "client_closed", "timeout", "drained", "failed", "operator", "refused", "budget"}
)

# What a caller reads on the data channel when a call ends that nobody on the line wanted to end.
FAREWELLS = {
    "backend_lost": "The connection to the model was lost. Please call again.",
    "drained": "This server is about to be replaced. Please call again.",
    "operator": "The operator has ended the call.",
    "budget": "The budget of this API key or model is used up.",
}


def follow(state: State, step: Step) -> State:
    """The state after `step`."""
    return TRANSITIONS[state, step]
