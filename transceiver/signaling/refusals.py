"""The middleware that turns every error into one problem+json answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from transceiver.counters import Counted
from transceiver.signaling.log_rate import LogRate
from transceiver.signaling.problem import PROBLEM_TYPE, Problem, problem_object

OPENAI_PREFIX = "/v1/"


@dataclass(frozen=True)
class Failures:
    """What became of faults of ours in one application."""

    counters: Counter[str] = field(default_factory=Counter)
    rate: LogRate = field(default_factory=LogRate)


FAILURES = web.AppKey("failures", Failures)

log = structlog.get_logger(__name__)

# What aiohttp itself refuses: no such route, no such method, and what its request object checks.
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_KEPT_HEADERS = ("Allow",)


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a Problem, an aiohttp refusal, or a bug of ours (500, with a traceback in the log)."""
    try:
        return await handler(request)
    except Problem as problem:
        return _response(request, problem)
    except web.HTTPException as refusal:
        return _response(request, _translated(refusal))
    except ConnectionError:
        raise  # the caller is gone, there is nobody to answer
    except Exception as error:
        _note(request, error)
        return _response(request, Problem("internal", "The operator's log says more."))


def _note(request: web.Request, error: Exception) -> None:
    """A fault of ours: counted, and a line with its traceback, of those that come often a few."""
    failures = request.app[FAILURES]
    failures.counters[Counted.HTTP_FAILED] += 1
    if failures.rate.allows(asyncio.get_running_loop().time()):
        log.error(
            "request_failed",
            method=request.method,
            route=_route(request),
            call_id=request.match_info.get("call_id", "")[:64],
            unsaid=failures.rate.take_unsaid(),
            exc_info=error,
        )


def _response(request: web.Request, problem: Problem) -> web.Response:
    members = problem_object(problem, openai=request.path.startswith(OPENAI_PREFIX))
    response = web.Response(
        status=problem.status,
        text=json.dumps(members),
        content_type=PROBLEM_TYPE,
        headers=problem.headers,
    )
    if problem.ends_connection:
        response.force_close()
    return response


def _translated(refusal: web.HTTPException) -> Problem:
    code = _BY_STATUS.get(refusal.status, "bad_request")
    kept = {name: refusal.headers[name] for name in _KEPT_HEADERS if name in refusal.headers}
    return Problem(code, f"{refusal.reason}.", kept)


def _route(request: web.Request) -> str:
    # The pattern and not the path: a path holds call ids.
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""
