"""The HTTP application: which path leads where, and what every request goes through.

    request ─▶ one_a_turn ─▶ cors ─▶ paced_refusals ─▶ answer_problems ─▶ route ─▶ [key] ─▶ handler

Calls need a key, those of the realtime API a key or a client secret; `/healthz`, `/metrics`,
preflights and the console page need none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from fleet.metrics import CONTENT_TYPE, page
from fleet.page_policy import NO_RULES, PageRules
from transceiver.metrics import TransceiverCollector
from transceiver.pod.neighbours import Check, Neighbours
from transceiver.signaling.access import BOUND_SESSION, PRINCIPAL, ApiKeys, SecretKeys
from transceiver.signaling.client_secrets import ClientSecrets
from transceiver.signaling.console_page import ConsolePage
from transceiver.signaling.cors import ANY_ORIGIN, cors
from transceiver.signaling.intake import Intake
from transceiver.signaling.loop_turns import LoopTurns
from transceiver.signaling.realtime_calls import RealtimeCalls
from transceiver.signaling.refusal_pace import paced_refusals, refusal_pace
from transceiver.signaling.refusals import FAILURES, Failures, answer_problems
from transceiver.signaling.sideband import Sideband
from transceiver.signaling.whip import Whip
from wire.keys import KeyRing

METRICS_KEPT_S = 0.2  # a page takes milliseconds to make, and anybody may ask for it
REQUEST_PAUSE_S = (
    0.001  # a thousand requests a second; an offer takes longer than its share of that
)
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
    ring: Callable[[], KeyRing],
    status: Status,
    *,
    pages: PageRules = NO_RULES,
    cors_origins: Sequence[str] = (ANY_ORIGIN,),
    console: ConsolePage | None = None,
    neighbours: Neighbours | None = None,
    for_processes: Iterable[web.RouteDef] = (),
    body_timeout_s: float = BODY_TIMEOUT_S,
    http_counters: Counter[str] | None = None,
) -> web.Application:
    """The application, without a socket. Raises nothing; a handler's errors become answers.

    `ring` gives the keys that client secrets are sealed with, as they are now; `pages` says what
    their holders may set of a session; `for_processes` are routes for other processes of the fleet,
    which check who asks; `http_counters` learns of requests that failed here.
    """
    neighbours = neighbours or Neighbours.none(ring)
    app = web.Application(
        middlewares=[
            *(one_a_turn(), cors(cors_origins), paced_refusals(refusal_pace())),
            *(neighbours.proving, answer_problems, neighbours.joining),
        ]
    )
    counters = http_counters if http_counters is not None else Counter()
    app[FAILURES] = Failures(counters)
    app.on_shutdown.append(neighbours.leave)
    sideband = Sideband(intake, counters, neighbours.follow)
    app.on_shutdown.append(sideband.close_all)
    for_keys = [
        *Whip(intake, body_timeout_s).routes(),
        *ClientSecrets(ring, body_timeout_s).routes(),
    ]
    for_secrets = [*RealtimeCalls(intake, body_timeout_s).routes(), *sideband.routes()]
    app.add_routes(_protected(for_keys, _key_check(keys), neighbours))
    check_secret = _secret_check(keys, SecretKeys(ring, keys, pages))
    app.add_routes(_protected(for_secrets, check_secret, neighbours))
    app.add_routes(_open_routes(status))
    app.add_routes(for_processes)
    if console:
        app.add_routes(console.routes())
    return app


def _protected(
    routes: Iterable[web.RouteDef], check: Check, neighbours: Neighbours
) -> list[web.RouteDef]:
    """The routes with a check before each but OPTIONS, which browsers send without a key."""
    return [
        route if route.method == hdrs.METH_OPTIONS else _checked(route, check, neighbours)
        for route in routes
    ]


def _checked(route: web.RouteDef, check: Check, neighbours: Neighbours) -> web.RouteDef:
    handler: Handler = route.handler

    async def checked(request: web.Request) -> web.StreamResponse:
        return await neighbours.handle(request, check, handler)

    return web.route(route.method, route.path, checked)


def _key_check(keys: ApiKeys) -> Check:
    def check(request: web.Request) -> None:
        request[PRINCIPAL] = keys.check(request.headers)

    return check


def _secret_check(keys: ApiKeys, secrets: SecretKeys) -> Check:
    check_key = _key_check(keys)

    def check(request: web.Request) -> None:
        page = secrets.read(request.headers)
        if page is None:
            check_key(request)
        else:
            request[PRINCIPAL], request[BOUND_SESSION] = page

    return check


def one_a_turn() -> Middleware:
    """A middleware under which one request is begun in each turn of the loop.

    One connection can send a thousand of them in one read, and sixty connections can do that at the
    same time: media would wait for all of them, and the process would take a whole core.
    """
    turns = LoopTurns(REQUEST_PAUSE_S)

    @web.middleware
    async def in_turn(request: web.Request, handler: Handler) -> web.StreamResponse:
        await turns.mine()
        return await handler(request)

    return in_turn


def _open_routes(status: Status) -> list[web.RouteDef]:
    collector = TransceiverCollector(status.counters, status.gauges)

    kept, kept_until_s = b"", 0.0

    async def metrics(_request: web.Request) -> web.Response:
        nonlocal kept, kept_until_s
        now_s = time.monotonic()
        if now_s >= kept_until_s:
            kept, kept_until_s = page(collector), now_s + METRICS_KEPT_S
        return web.Response(body=kept, headers={"Content-Type": CONTENT_TYPE})

    async def healthz(_request: web.Request) -> web.Response:
        ready = status.ready()
        word = "ready" if ready else "unavailable"
        return web.json_response({"status": word}, status=200 if ready else 503)

    return [web.get("/healthz", healthz), web.get("/metrics", metrics)]
