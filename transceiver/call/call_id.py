"""Public call ids: `rtc_`, a letter for the process of the pod, three for the node, 144 random
bits.

A request about a call may reach any process of the fleet. The letters lead to the process that made
the call: the node to the Pod (`fleet.directory`), and the first letter to the process in the Pod.
To anybody else they mean nothing. Pure.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass

from wire.token import MAX_NODE

PREFIX = "rtc_"
RANDOM_BYTES = 18
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"  # as base64url
MAX_PROCESSES = len(LETTERS)
_NODE_LETTERS = 3
_ID = re.compile(PREFIX + r"[A-Za-z0-9_-]{5,60}")
_HEAD = len(PREFIX) + 1 + _NODE_LETTERS


@dataclass(frozen=True)
class Origin:
    """Which process made a call: its number in its pod, and the node index it held then."""

    process: int
    node: int


def new_call_id(process: int = 0, node: int = 0) -> str:
    """An id for a call of a process, 0 to MAX_PROCESSES - 1, that is node 0–65535."""
    letters = "".join(LETTERS[node >> shift & 63] for shift in (12, 6, 0))
    return PREFIX + LETTERS[process] + letters + secrets.token_urlsafe(RANDOM_BYTES)


def origin_of(call_id: str) -> Origin | None:
    """Who made the call; None when it is not an id of ours."""
    if not _ID.fullmatch(call_id):  # an id that is passed on needs no quoting anywhere
        return None
    digits = [LETTERS.find(letter) for letter in call_id[len(PREFIX) : _HEAD]]
    node = digits[1] << 12 | digits[2] << 6 | digits[3]
    return None if node > MAX_NODE else Origin(digits[0], node)
