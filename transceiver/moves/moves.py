"""Moves of one process, put together: both sides, the drain, and what operators ask for."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from fleet.directory.directory import Node
from fleet.seal import Keys
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backends
from transceiver.moves.emptying import Emptying, Nodes
from transceiver.moves.envelope import Envelopes
from transceiver.moves.incoming import Incoming
from transceiver.moves.outgoing import Outcome, Outgoing
from transceiver.moves.targets import candidates, in_order
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.posts import Place, Posts
from transceiver.pod.whereabouts import path_of
from transceiver.signaling.problem import Problem
from trunkline.process.address import Address


class NoTarget(Exception):  # noqa: N818 - a state of the fleet
    """No node has that name or index, or none can take a call; the text says which."""


class Moves:
    """`nodes` gives the directory, `drains` says whether calls are to go elsewhere."""

    def __init__(
        self,
        engine: Engine,
        backends: Backends,
        neighbours: Neighbours,
        keys: Keys,
        cluster: int,
        own_http: Address | None,
        nodes: Nodes,
        drains: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._nodes = nodes
        self._neighbours = neighbours
        posts = Posts(neighbours, lambda: engine.between.owner)
        envelopes = Envelopes(keys, cluster)
        self._incoming = Incoming(engine, backends, envelopes, posts)
        self._outgoing = Outgoing(
            *(engine, backends, envelopes, posts),
            place_of=lambda node: Place.of(node, own_http),
            moved=self._moved,
        )
        self.emptying = Emptying(engine, self._outgoing, nodes, lambda: engine.route.node, drains)

    def routes(self) -> list[web.RouteDef]:
        """What other processes ask of this one."""
        return [*self._incoming.routes(), web.get(path_of("{sought}"), self._has)]

    async def close(self) -> None:
        """Wait for moves that are under way; nothing goes live here any more."""
        await self._outgoing.close()
        self._incoming.close()

    async def move(self, call_id: str, wanted: str = "") -> tuple[Outcome, str]:
        """Move a call to the node of that name or index, or to one with room; the outcome, and the
        name of the node that was asked last.

        Raises KeyError when no live call has that id, NoTarget, and StoreUnavailable.
        """
        outcome, name = Outcome.REFUSED_NO_ROOM, ""
        for node in await self._targets(wanted):
            name = node.name
            outcome = await self._outgoing.move(call_id, node)
            if not outcome.stays:
                break
        return outcome, name

    async def _targets(self, wanted: str) -> list[Node]:
        known = list(await self._nodes())
        own = self._engine.route.node
        if not wanted:
            found = in_order(candidates(known, own))
            if not found:
                raise NoTarget("no other node takes calls")
            return found
        named = [node for node in known if wanted in (node.name, str(node.index))]
        if not named:
            raise NoTarget(f"no node {wanted}")
        if named[0].index == own:
            raise NoTarget(f"the call is on node {wanted} already")
        return named[:1]

    def _moved(self, call_id: str, place: Place) -> None:
        self._neighbours.whereabouts.note(call_id, place.owner)

    async def _has(self, request: web.Request) -> web.Response:
        """Whether a call is here, or in this Pod if another Pod asks."""
        call_id = request.match_info["sought"]
        await self._neighbours.admit(request, 0)
        if self._engine.find(call_id) is None and not await self._neighbours.pod_has(
            call_id, request
        ):
            raise Problem("no_such_call", "It is not here.")
        return web.json_response({}, status=HTTPStatus.OK)
