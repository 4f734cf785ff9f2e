"""The middleware that turns every error into one problem+json answer."""

from __future__ import annotations

import json

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from fleet.errors import StoreUnavailable
from fleet.problem import PROBLEM_TYPE, problem_object
from records.api.problem import Problem

OPENAI_PREFIX = "/v1/realtime/"
RETRY_AFTER_S = 2.0

log = structlog.get_logger(__name__)

_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a Problem, a store that is away, an aiohttp refusal, or a bug of ours (500)."""
    try:
        return await handler(request)
    except Problem as problem:
        return _response(request, problem)
    except StoreUnavailable as error:
        log.warning("store_unavailable", reason=str(error))
        detail = "Try again in a moment."
        away = Problem("store_unavailable", detail, retry_after_s=RETRY_AFTER_S)
        return _response(request, away)
    except web.HTTPException as refusal:
        code = _BY_STATUS.get(refusal.status, "bad_request")
        kept = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
        return _response(request, Problem(code, f"{refusal.reason}.", kept))
    except ConnectionError:
        raise  # who asked is gone, there is nobody to answer
    except Exception as error:
        log.error("request_failed", method=request.method, route=_route(request), exc_info=error)
        return _response(request, Problem("internal", "The operator's log says more."))


def _response(request: web.Request, problem: Problem) -> web.Response:
    members = problem_object(problem, openai=request.path.startswith(OPENAI_PREFIX))
    return web.Response(
        status=problem.status,
        text=json.dumps(members),
        content_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def _route(request: web.Request) -> str:
    # The pattern and not the path: a path holds call ids.
    resource = request.match_info.route.resource
    return resource.canonical if resource else "none"
