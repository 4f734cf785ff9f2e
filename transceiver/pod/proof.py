"""Proof that a request comes from a process of the fleet, and whom it is passed on for.

    caller ── key ──▶ process A ── Trunkline-Passed-On: sealed(who, when, id, digest of body) ──▶ B
                               ◀── Trunkline-Answered:  sealed(status, digest of body) ─────────

The caller's key stays at A, which has checked it. The seal (`fleet.seal`) is bound to method, path
and the two headers that go on, is good for half a minute, and the process that carries the request
out carries it out once. The answer is sealed as well, bound to the request's id: who listens where
a process used to be can neither answer for it nor hear what a side band says. Pure.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Annotated

from pydantic import TypeAdapter, ValidationError
from pydantic.types import StringConstraints

from fleet.seal import MAX_AGE_MS, BrokenSeal, Seal, fresh
from transceiver.call.principal import Principal

PROOF = "Trunkline-Passed-On"
ANSWERED = "Trunkline-Answered"
PURPOSE = "passed on"
MAX_REMEMBERED = 65_536  # ids: a thousand requests a second for as long as a proof is good


class NotProven(ValueError):  # noqa: N818 - says what is wrong
    """Not from a process of this fleet, not for this request, too old, or carried out already."""


@dataclass(frozen=True)
class Passed:
    """A request that is passed on: what it asks, and for whom."""

    method: str
    path: str
    principal: Principal
    content_type: str = ""
    if_match: str = ""
    body: bytes = field(default=b"", repr=False)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def again(self) -> Passed:
        """The same request, to be carried out once more."""
        return replace(self, id=secrets.token_urlsafe(16))


@dataclass(frozen=True)
class _Sealed:
    principal: Principal
    at_ms: int
    id: Annotated[str, StringConstraints(min_length=16, max_length=32)]
    digest: str


_SEALED: TypeAdapter[_Sealed] = TypeAdapter(_Sealed)


class Proofs:
    """Writes proofs and judges them. `now` is Unix time in seconds."""

    def __init__(self, seal: Seal, now: Callable[[], float] = time.time) -> None:
        self._seal = seal
        self._now = now
        self._carried_out: dict[str, float] = {}  # id → when, oldest first

    def write(self, request: Passed) -> str:
        """The proof to send with a request."""
        sealed = _Sealed(request.principal, self._now_ms(), request.id, _digest(request.body))
        return self._seal.seal(_name(request), _SEALED.dump_json(sealed))

    def check(self, asked: Passed, proof: str) -> None:
        """Whether it is worth to read the body of a request. Raises NotProven."""
        self._sealed(asked, proof)

    def read(self, asked: Passed, proof: str) -> Passed:
        """The request as it was passed on; of `asked` principal and id are not looked at.

        Raises NotProven.
        """
        sealed = self._sealed(asked, proof)
        if sealed.digest != _digest(asked.body):
            raise NotProven("another body")
        request = asked.method, asked.path, sealed.principal, asked.content_type, asked.if_match
        return Passed(*request, asked.body, sealed.id)

    def _sealed(self, asked: Passed, proof: str) -> _Sealed:
        try:
            sealed = _SEALED.validate_json(self._seal.open(_name(asked), proof))
        except (BrokenSeal, ValidationError):
            raise NotProven("no seal of this fleet") from None
        if not fresh(sealed.at_ms, self._now_ms()):
            raise NotProven("too old")
        return sealed

    def carry_out(self, request: Passed) -> None:
        """The request is carried out here and now. Raises NotProven the second time."""
        self._forget_old()
        if request.id in self._carried_out:
            raise NotProven("carried out already")
        if len(self._carried_out) >= MAX_REMEMBERED:
            raise NotProven("too many to remember")
        self._carried_out[request.id] = self._now()

    def write_answer(self, request_id: str, status: int, body: bytes) -> str:
        """The proof to send with an answer."""
        return self._seal.seal(_answer_name(request_id), _answered(status, body))

    def check_answer(self, request_id: str, status: int, body: bytes, proof: str) -> None:
        """Raises NotProven for an answer that nobody of the fleet gave to this request."""
        try:
            sealed = self._seal.open(_answer_name(request_id), proof)
        except BrokenSeal:
            raise NotProven("no seal of this fleet") from None
        if sealed != _answered(status, body):
            raise NotProven("another answer")

    def _forget_old(self) -> None:
        """Twice the age a proof may have: clocks may differ by that much either way."""
        oldest_s = self._now() - 2 * MAX_AGE_MS / 1000
        while self._carried_out:
            request_id, at_s = next(iter(self._carried_out.items()))
            if at_s > oldest_s:
                return
            del self._carried_out[request_id]

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _name(request: Passed) -> bytes:
    asked = request.method, request.path, request.content_type, request.if_match
    return "\n".join(asked).encode("utf-8", "surrogateescape")


def _answer_name(request_id: str) -> bytes:
    return f"answer\n{request_id}".encode()


def _answered(status: int, body: bytes) -> bytes:
    return f"{status} {_digest(body)}".encode()


def _digest(body: bytes) -> str:
    return sha256(body).hexdigest()
