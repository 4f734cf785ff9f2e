"""The HTTP application: which path leads where, and what every request goes through.

    request ─▶ cors ─▶ paced_refusals ─▶ answer_problems ─▶ route ─▶ [key] ─▶ handler

Calls need a key; `/healthz`, `/metrics`, preflights and the console page do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from transceiver.signaling.access import ApiKeys
from transceiver.signaling.console_page import ConsolePage
from transceiver.signaling.cors import ANY_ORIGIN, cors
from transceiver.signaling.intake import KEY_ID, Intake
from transceiver.signaling.metrics import EngineCollector, metrics_handler
from transceiver.signaling.realtime_calls import RealtimeCalls
from transceiver.signaling.refusal_pace import RefusalPace, paced_refusals
from transceiver.signaling.refusals import answer_problems
from transceiver.signaling.whip import Whip

BODY_TIMEOUT_S = 10.0  # an offer is a few kilobytes; who needs longer holds a connection hostage


@dataclass(frozen=True)
class Status:
    """What the process says about itself: may callers come, what was counted, what is so now.

    `gauges` has figures that rise and fall, by the end of their metric's name.
    """

    ready: Callable[[], bool]
    counters: Callable[[], Mapping[str, int]]
    gauges: Callable[[], Mapping[str, float]]


def make_app(
    intake: Intake,
    keys: ApiKeys,
    status: Status,
    *,
    cors_origins: Sequence[str] = (ANY_ORIGIN,),
    console: ConsolePage | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> web.Application:
    """The application, without a socket. Raises nothing; a handler's errors become answers."""
    app = web.Application(
        middlewares=[cors(cors_origins), paced_refusals(RefusalPace()), answer_problems]
    )
    calls = [
        *Whip(intake, body_timeout_s).routes(),
        *RealtimeCalls(intake, body_timeout_s).routes(),
    ]
    app.add_routes(_protected(calls, keys))
    app.add_routes(_open_routes(status))
    if console:
        app.add_routes(console.routes())
    return app


def _protected(routes: Iterable[web.RouteDef], keys: ApiKeys) -> list[web.RouteDef]:
    """The routes with a key in front of each but OPTIONS, which browsers send without one."""
    return [
        route if route.method == hdrs.METH_OPTIONS else _with_key(route, keys) for route in routes
    ]


def _with_key(route: web.RouteDef, keys: ApiKeys) -> web.RouteDef:
    handler: Handler = route.handler

    async def checked(request: web.Request) -> web.StreamResponse:
        request[KEY_ID] = keys.check(request.headers.get(hdrs.AUTHORIZATION))
        return await handler(request)

    return web.route(route.method, route.path, checked)


def _open_routes(status: Status) -> list[web.RouteDef]:
    scrape = metrics_handler(EngineCollector(status.counters, status.gauges))

    async def metrics(request: web.Request) -> web.Response:
        return scrape(request)

    async def healthz(_request: web.Request) -> web.Response:
        ready = status.ready()
        word = "ready" if ready else "unavailable"
        return web.json_response({"status": word}, status=200 if ready else 503)

    return [web.get("/healthz", healthz), web.get("/metrics", metrics)]
