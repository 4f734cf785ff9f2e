"""Passes a side band on to the process that has its call, both ways.

    application server ◀─ near ─▶ this process ◀─ far ─▶ the call's process

Nothing is kept here: a message is read after the one before it was taken. So the owner of the call
judges a slow listener, as if it were connected there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, web

from fleet.ending import end
from transceiver.call.principal import Principal
from transceiver.signaling.problem import Problem
from transceiver.signaling.shares import Shares
from transceiver.signaling.sideband import GREETING

MAX_PASSED = 512  # of this process; each takes two connections

Again = Callable[[], Awaitable[ClientWebSocketResponse | None]]
"""A side band at whoever has the call now; None: it is over."""
Socket = web.WebSocketResponse | ClientWebSocketResponse


class PassedSockets:
    """The side bands that this process passes on."""

    def __init__(self) -> None:
        self._near: set[web.WebSocketResponse] = set()
        self._shares = Shares()

    async def pass_on(
        self,
        request: web.Request,
        principal: Principal,
        near: web.WebSocketResponse,
        far: ClientWebSocketResponse,
        again: Again,
    ) -> web.WebSocketResponse:
        """Pass on both ways until either end closes; `again` finds a call whose owner has left."""
        with self._open(principal, near):
            try:
                await near.prepare(request)
                await _greet(request, near)
                await _converse(near, far, again)
            finally:
                await far.close()
        return near

    async def go_on(
        self,
        principal: Principal,
        near: web.WebSocketResponse,
        far: ClientWebSocketResponse,
        again: Again,
    ) -> None:
        """The same for one that was of this process, whose call has moved."""
        with self._open(principal, near):
            try:
                await _converse(near, far, again)
            finally:
                await far.close()

    @contextmanager
    def _open(self, principal: Principal, near: web.WebSocketResponse) -> Iterator[None]:
        self._near.add(near)
        self._shares.take(principal)
        try:
            yield
        finally:
            self._near.discard(near)
            self._shares.give_back(principal)

    def check_room(self, principal: Principal) -> None:
        """Whether one more may be passed on for it. Raises Problem too_many_sidebands."""
        if not self._shares.may_take(principal, MAX_PASSED - len(self._near)):
            raise Problem("too_many_sidebands", "Close one of them first.")

    async def close_all(self) -> None:
        """End them; whoever listens reads that this process leaves."""
        open_ones = [near for near in self._near if near.prepared]
        await asyncio.gather(*(near.close(code=WSCloseCode.GOING_AWAY) for near in open_ones))


async def _greet(request: web.Request, near: web.WebSocketResponse) -> None:
    """Whoever passed the side band on to here waits for a proof before it says anything."""
    if GREETING in request:
        await near.send_str(request[GREETING])


async def _converse(
    near: web.WebSocketResponse, far: ClientWebSocketResponse, again: Again
) -> None:
    while await _far_ends(near, far):
        code = _sendable(far.close_code)
        found = await again() if code == WSCloseCode.GOING_AWAY else None
        if found is None:
            await near.close(code=code)
            return
        await far.close()
        far = found
    await far.close(code=_sendable(near.close_code))


async def _far_ends(near: web.WebSocketResponse, far: ClientWebSocketResponse) -> bool:
    """Copy both ways until either end closes; whether it was the far one."""
    up, down = asyncio.ensure_future(_copy(near, far)), asyncio.ensure_future(_copy(far, near))
    try:
        await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        return down.done()
    finally:
        await end([up, down])  # nobody may read an end that closes (see `sideband`)


async def _copy(source: Socket, sink: Socket) -> None:
    async for message in source:
        try:
            if message.type is WSMsgType.TEXT:
                await sink.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await sink.send_bytes(message.data)
        except ConnectionError:  # the other end is gone, and its reader says so
            return


def _sendable(code: int | None) -> int:
    """The close code to pass on; one that only says how a connection broke is never sent (RFC 6455
    §7.4.1)."""
    broken = (None, WSCloseCode.ABNORMAL_CLOSURE, 1005)
    return WSCloseCode.GOING_AWAY if code in broken else int(code or WSCloseCode.OK)
