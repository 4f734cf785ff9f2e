"""Public call ids: `rtc_`, a letter that names the process of the pod, 144 random bits. Pure.

The processes of a pod share one HTTP port, so a request about a call reaches any of them; by the
letter it finds the one that made the call. It says nothing to anybody else.
"""

from __future__ import annotations

import secrets
import string

PREFIX = "rtc_"
RANDOM_BYTES = 18
LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"  # as base64url
MAX_PROCESSES = len(LETTERS)


def new_call_id(process: int = 0) -> str:
    """An id for a call of the process with that number, 0 to MAX_PROCESSES - 1."""
    return PREFIX + LETTERS[process] + secrets.token_urlsafe(RANDOM_BYTES)


def process_of(call_id: str) -> int | None:
    """The number in an id; None when it is not an id of ours."""
    letter = call_id[len(PREFIX) : len(PREFIX) + 1]
    if not letter or not call_id.startswith(PREFIX) or letter not in LETTERS:
        return None
    return LETTERS.index(letter)
