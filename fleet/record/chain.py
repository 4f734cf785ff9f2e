"""The events of one call as one source writes them: numbered, chained by hashes. Pure.

    event 1 ◀─ previous ─ event 2 ◀─ previous ─ event 3 …    previous: SHA-256 of the event before

The hash is over the bytes of an event as they are written, so who stores them must store these very
bytes. Content is no part of an event: it has SHA-256 of a salt and the content, and without the
salt nobody can try contents out.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from trunkline.v1 import record_pb2 as pb

SALT_BYTES = 16
MAX_CONTENT_BYTES = 32 * 1024
_CUT = "…"


class Chain:
    """What one source tells of one call. Not safe for several threads."""

    __slots__ = ("_call_id", "_previous", "_source", "number")

    def __init__(self, call_id: str, source: str) -> None:
        self._call_id = call_id
        self._source = source
        self._previous = b""
        self.number = 0  # of the last event, written or left out

    def leave_out(self) -> None:
        """An event happens that will not be written; its number stays empty."""
        self.number += 1

    def add(
        self,
        origin: pb.Origin.ValueType,
        wall_us: int,
        monotonic_us: int,
        content: str,
        body: dict[str, Any],
    ) -> pb.Envelope:
        """The next event; `body` has the member of its oneof. Content that is too long is cut."""
        self.number += 1
        content = fit(content)
        salt = secrets.token_bytes(SALT_BYTES) if content else b""
        event = pb.Event(
            call_id=self._call_id,
            source=self._source,
            number=self.number,
            wall_us=wall_us,
            monotonic_us=monotonic_us,
            origin=origin,
            previous=self._previous,
            content_hash=content_hash(salt, content),
            **body,
        ).SerializeToString()
        self._previous = event_hash(event)
        return pb.Envelope(event=event, salt=salt, content=content)


def event_hash(event: bytes) -> bytes:
    """What the next event calls `previous`."""
    return hashlib.sha256(event).digest()


def content_hash(salt: bytes, content: str) -> bytes:
    """What an event has of its content; empty where there is none."""
    return hashlib.sha256(salt + content.encode()).digest() if salt else b""


def fit(content: str) -> str:
    """A content as every store takes it: without NUL, of MAX_CONTENT_BYTES at most."""
    content = content.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if len(content) * 4 <= MAX_CONTENT_BYTES:
        return content
    encoded = content.encode()
    if len(encoded) <= MAX_CONTENT_BYTES:
        return content
    return encoded[: MAX_CONTENT_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT
