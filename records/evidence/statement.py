"""What is signed: a text that names a root, what it is over, and the statement before it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from records.evidence import merkle

_HEAD = "trunkline root 1"


class BadStatement(ValueError):  # noqa: N818 - says what it is
    """Not a statement of ours."""


@dataclass(frozen=True)
class Statement:
    """Root `number`, at a Unix time in µs, over `leaves` heads; `previous` is the hash of the
    statement before, empty in the first."""

    number: int
    signed_us: int
    leaves: int
    root: bytes
    previous: bytes

    def write(self) -> bytes:
        """As it is signed: one line for each member."""
        members = (self.number, self.signed_us, self.leaves, self.root.hex(), self.previous.hex())
        return "\n".join([_HEAD, *map(str, members)]).encode()

    @classmethod
    def read(cls, text: bytes) -> Statement:
        """What was signed. Raises BadStatement."""
        try:
            head, number, signed_us, leaves, root, previous = text.decode("ascii").split("\n")
            if head != _HEAD:
                raise BadStatement("of another kind")
            hashes = bytes.fromhex(root), bytes.fromhex(previous)
            return cls(int(number), int(signed_us), int(leaves), *hashes)
        except ValueError:
            raise BadStatement("not a statement") from None


def hash_of(statement: bytes) -> bytes:
    """What the next statement calls `previous`."""
    return hashlib.sha256(statement).digest()


def leaf(head: dict[str, Any]) -> bytes:
    """A head of a chain: call, source, how many events are stored, the last one and its hash."""
    text = "\n".join(str(head[name]) for name in ("call_id", "source", "events", "last_number"))
    return text.encode() + b"\n" + bytes(head["last_hash"])


def root_over(heads: Sequence[dict[str, Any]]) -> bytes:
    """The Merkle root over heads in their order."""
    return merkle.root([leaf(head) for head in heads])
