"""Errors of an HTTP API: `application/problem+json` (RFC 9457).

Every problem has a stable `code`; each API derives its Problem and gives it the list of its codes.
On paths of OpenAI's API the same object also has the `error` member that its clients show.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

PROBLEM_TYPE = "application/problem+json"
JITTER_S = 3  # at least; a long wait is spread over a tenth of itself
_WITH_RETRY_AFTER = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A refusal on its way to the caller. `code` is a key of `codes`; raises KeyError if not.

    `ends_connection` is for a request that was not read to its end. A 429 or 503 says when to come
    back (RFC 9110 §10.2.3): after `retry_after_s`, and a little more.
    """

    codes: ClassVar[Mapping[str, tuple[int, str]]] = {}
    """code → (status, title); the title is the same at each occurrence (RFC 9457 section 3.1)."""

    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    ends_connection: bool = False
    retry_after_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(self.code)
        self.status, self.title = self.codes[self.code]
        if self.status in _WITH_RETRY_AFTER:
            # Spread over some seconds, so that callers refused together do not return together.
            jitter_s = 1 + secrets.randbelow(max(JITTER_S, int(self.retry_after_s / 10)))
            after_s = int(self.retry_after_s) + jitter_s
            self.headers = {"Retry-After": str(after_s), **self.headers}


def problem_object(problem: Problem, openai: bool) -> dict[str, Any]:
    """The JSON object of a problem; `openai` adds the `error` member of their API."""
    members: dict[str, Any] = {
        "type": f"urn:trunkline:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    if openai:
        members["error"] = {
            "message": f"{problem.title}. {problem.detail}",
            "type": _openai_type(problem.status),
            "code": problem.code,
            "param": None,
        }
    return members


def _openai_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
