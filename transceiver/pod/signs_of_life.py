"""Answers other processes of the fleet that ask whether a process of this pod lives.

    GET /fleet/nodes/NODE/alive     200: it does, 404: it is none of this pod, or does not answer

The question carries a proof and the answer is sealed (`transceiver.pod.proof`), so nobody who
listens where a process used to be can speak for it. Whoever accepts asks the others of the pod;
each answers from its event loop, which one that is stopped or blocked cannot do.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from fleet.calls.owner import Owner
from transceiver.pod.neighbours import Neighbours

PATH = r"/fleet/nodes/{node:\d{1,10}}/alive"
POD_TIMEOUT_S = 0.12  # whoever asks from another pod waits 0.2 s


def path_of(owner: Owner) -> str:
    """Where to ask for it."""
    return f"/fleet/nodes/{owner.sender}/alive"


class SignsOfLife:
    """The route; `own` says who this process is now."""

    def __init__(self, neighbours: Neighbours, own: Callable[[], Owner]) -> None:
        self._neighbours = neighbours
        self._own = own

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        return [web.get(PATH, self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        passed = await self._neighbours.admit(request)
        if request.path == path_of(self._own()):
            return web.Response()
        alive = any(
            answer.status == web.HTTPOk.status_code
            for answer in await self._neighbours.ask_others(request, passed, POD_TIMEOUT_S)
        )
        return web.Response(status=200 if alive else 404)
