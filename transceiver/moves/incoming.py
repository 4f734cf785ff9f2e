"""The new owner's side of moves over HTTP: prepare, commit, abort.

    POST /fleet/nodes/{node}/moves/{move}/prepare   an envelope: resume the call, and be silent
    POST /fleet/nodes/{node}/moves/{move}/commit    go live; the answer says whether it is
    POST /fleet/nodes/{node}/moves/{move}/abort     forget it; the answer is the same

Only processes of the fleet may ask (`transceiver.pod.proof`). A request finds the process of its
node, whichever process of the Pod it came to (`transceiver.pod.posts`).
"""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from transceiver.counters import Counted
from transceiver.engine.engine import Engine
from transceiver.engine.refusals import Draining, TooManyCalls
from transceiver.link.backends import Backends
from transceiver.link.errors import LinkError
from transceiver.moves.arrivals import Arrivals
from transceiver.moves.departure import Verdict
from transceiver.moves.envelope import MAX_ENVELOPE_BYTES, Envelopes, Unreadable
from transceiver.pod.posts import Body, Posts
from transceiver.signaling.problem import Problem
from transceiver.takeover.session_state import SessionState

log = structlog.get_logger(__name__)


class Incoming:
    """Calls that move to this process."""

    def __init__(
        self,
        engine: Engine,
        backends: Backends,
        envelopes: Envelopes,
        posts: Posts,
    ) -> None:
        self._engine = engine
        self._backends = backends
        self._envelopes = envelopes
        self._posts = posts
        self._arrivals = Arrivals()
        self._timer: asyncio.TimerHandle | None = None

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        base = r"/fleet/nodes/{node:\d{1,10}}/moves/{move:[\w-]{16}}/"
        post, most = self._posts.handler, MAX_ENVELOPE_BYTES
        return [
            web.post(base + "prepare", post(self._work("prepare"), most)),
            web.post(base + "commit", post(self._work("commit"), 0)),
            web.post(base + "abort", post(self._work("abort"), 0)),
        ]

    def _work(self, step: str) -> Body:
        async def work(request: web.Request, body: bytes) -> web.Response:
            steps = {"prepare": self._prepare, "commit": self._commit, "abort": self._abort}
            return await steps[step](request, body)

        return work

    def close(self) -> None:
        """Nothing goes live any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _prepare(self, request: web.Request, body: bytes) -> web.Response:
        """Resume a call, silent. Raises Problem move_no_room or move_refused."""
        move = request.match_info["move"]
        self._expire()
        try:
            envelope = self._envelopes.read(move, int(request.match_info["node"]), body)
        except Unreadable as error:
            raise _refused(str(error)) from None
        state = envelope.state
        if self._arrivals.full:
            raise _no_room("too many calls have come at once")
        self._resume(state)
        self._arrivals.prepare(move, state.call_id, self._engine.now())
        self._engine.between.passes_on(envelope.owner)
        self._arm()
        return web.json_response({})

    async def _commit(self, request: web.Request, _body: bytes) -> web.Response:
        """Go live. The answer is the verdict, also when it is asked again."""
        self._expire()
        move = request.match_info["move"]
        call_id = self._arrivals.commit(move)
        if call_id is not None and self._go_live(call_id):
            self._arrivals.went_live(move, self._engine.now())
        return self._verdict(move)

    async def _abort(self, request: web.Request, _body: bytes) -> web.Response:
        """Forget a call, unless it is live."""
        self._expire()
        move = request.match_info["move"]
        call_id = self._arrivals.abort(move)
        if call_id is not None:
            self._forget(call_id)
        return self._verdict(move)

    def _resume(self, state: SessionState) -> None:
        try:
            link = self._backends.resuming(state.link.name, state.link.instance)
            self._engine.between.prepare(state, link)
        except (TooManyCalls, Draining) as error:
            raise _no_room(str(error)) from None
        except (LinkError, ValueError) as error:
            raise _refused(str(error)) from None

    def _go_live(self, call_id: str) -> bool:
        try:
            self._engine.between.go_live(call_id)
        except (LinkError, ValueError, KeyError) as error:
            log.warning("call_not_taken_in", call_id=call_id, reason=str(error))
            return False
        self._engine.count(Counted.MOVE_TAKEN_IN)
        return True

    def _verdict(self, move: str) -> web.Response:
        live = self._arrivals.is_live(move)
        return web.json_response({"verdict": Verdict.LIVE if live else Verdict.NOT_LIVE})

    def _forget(self, call_id: str) -> None:
        self._engine.between.forget(call_id)
        self._engine.count(Counted.MOVE_FORGOTTEN)
        log.info("call_move_forgotten", call_id=call_id)

    def _expire(self) -> None:
        for call_id in self._arrivals.expire(self._engine.now()):
            self._forget(call_id)
        self._arm()

    def _arm(self) -> None:
        self.close()
        due_s = self._arrivals.due_s()
        if due_s is not None:
            self._timer = asyncio.get_running_loop().call_at(due_s, self._expire)


def _no_room(reason: str) -> Problem:
    return Problem("move_no_room", f"Try another process: {reason}.")


def _refused(reason: str) -> Problem:
    return Problem("move_refused", f"The call cannot go on here: {reason}.")
