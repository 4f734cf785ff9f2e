"""A WebSocket beside a call: a server reads and writes the events of the page.

    GET /v1/realtime?call_id=rtc_…   Upgrade: websocket

Text goes to the backend as if it had come on the caller's `oai-events` channel; every event sent on
that channel is copied here. It ends with the call (1000), when this process leaves (1001), or when
it is read too slowly (1013): a slow listener never holds up a call.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from fleet.ending import end
from transceiver.call.principal import Principal
from transceiver.counters import Counted
from transceiver.signaling.access import PRINCIPAL
from transceiver.signaling.intake import CallSession, Intake
from transceiver.signaling.pace import Pace
from transceiver.signaling.problem import Problem
from transceiver.signaling.shares import Shares

SIDEBAND_PATH = "/v1/realtime"
GREETING = web.RequestKey("greeting", str)
"""Of a side band that another process passes on: what it waits for before it says anything."""
AGAIN = "again=1"
"""In the query of a side band that comes from the owner that the call had before; of no meaning to
anybody who has no proof of the fleet."""
SUBPROTOCOL = "realtime"
MAX_MESSAGE_BYTES = 256 * 1024  # as on a data channel
MAX_WAITING = 512  # events not yet written
MAX_WAITING_CHARS = 1024 * 1024
MAX_SIDEBANDS = 512  # of this process; connections are bounded, and callers need them too
# What the side bands of one key, or of one page, may say: more waits, unread.
MESSAGES_PER_S = 100.0
MESSAGE_BURST = 200.0
CHARS_PER_MESSAGE = 4096  # a longer one counts as several
LONGEST_WAIT_S = 10.0
HELD_LOOK_S = 0.005
HEARTBEAT_S = 20.0
CLOSE_TIMEOUT_S = 2.0

Follow = Callable[[str, Principal, web.WebSocketResponse, str], Awaitable[None]]
"""Goes on with a side band whose call has moved: call, who listens, socket, what was not said."""

log = structlog.get_logger(__name__)
_sleep = asyncio.sleep


class _Mailbox:
    """What one side band has not been sent yet, bounded; a transceiver.call.sidebands.Listener."""

    def __init__(self) -> None:
        self.close_code: WSCloseCode | None = None  # known when there is nothing more to send
        self._texts: deque[str] = deque()
        self._chars = 0
        self._came = asyncio.Event()

    def hear(self, text: str) -> None:
        """Keep an event; too many of them end it."""
        self._texts.append(text)
        self._chars += len(text)
        if len(self._texts) > MAX_WAITING or self._chars > MAX_WAITING_CHARS:
            self._texts.clear()
            self.close(WSCloseCode.TRY_AGAIN_LATER)
        self._came.set()

    def call_ended(self) -> None:
        """Send what is left, then close."""
        self.close(WSCloseCode.OK)

    def close(self, code: WSCloseCode) -> None:
        """Nothing follows; the first reason counts."""
        self.close_code = self.close_code or code
        self._came.set()

    async def next(self) -> str | None:
        """The next event; None when it is time to close."""
        while not self._texts and self.close_code is None:
            self._came.clear()
            await self._came.wait()
        if not self._texts:
            return None
        text = self._texts.popleft()
        self._chars -= len(text)
        return text


@dataclass
class _Mouth:
    """What a side band says, at its pace, to one call. `unsaid` waits for its time."""

    session: CallSession
    pace: Pace
    from_server: bool
    counters: Counter[str]
    unsaid: str = ""

    @property
    def moved(self) -> bool:
        """Whether the call goes on in another process."""
        return self.session.end_reason == "moved"

    def failed(self) -> None:
        """The side band ends by a fault of ours."""
        self.counters[Counted.SIDEBAND_FAILED] += 1

    async def say(self, text: str) -> None:
        """Let the call hear it, when it is time."""
        self.unsaid = text
        await self.wait(1 + len(text) / CHARS_PER_MESSAGE)
        while self.session.held:  # some ms, until it is known whose the call is
            await _sleep(HELD_LOOK_S)
        if not self.moved:
            self.unsaid = ""
            self.session.hear_sideband(text, from_server=self.from_server)

    async def wait(self, turns: float = 1.0) -> None:
        """Return when it is time for so many messages."""
        wait_s = self.pace.wait_s(asyncio.get_running_loop().time(), turns)
        if wait_s:
            await _sleep(wait_s)


class Sideband:
    """The handler of side bands. `close_all` is for the end of the process."""

    def __init__(self, intake: Intake, counters: Counter[str], follow: Follow) -> None:
        self._follow = follow
        self._counters = counters
        self._intake = intake
        self._open: set[_Mailbox] = set()
        self._shares = Shares()
        self._paces: WeakValueDictionary[Principal, Pace] = WeakValueDictionary()

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get(SIDEBAND_PATH, self.join, allow_head=False)]

    async def join(self, request: web.Request) -> web.StreamResponse:
        """Join a call."""
        session = await self._session(request)
        socket = sideband_socket()
        if not socket.can_prepare(request):
            headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
            raise Problem("upgrade_required", "Connect with a WebSocket client.", headers)
        mailbox, principal = _Mailbox(), request[PRINCIPAL]
        has_share = self._shares.may_take(principal, MAX_SIDEBANDS - len(self._open))
        again = GREETING in request and AGAIN in request.query_string
        if not has_share or not session.sidebands.join(mailbox, again=again):
            raise Problem("too_many_sidebands", "Close one of them first.")
        self._open.add(mailbox)
        self._shares.take(principal)
        try:
            await socket.prepare(request)
            if GREETING in request:
                await socket.send_str(request[GREETING])
            mouth = _Mouth(session, self._pace(principal), not principal.secret_id, self._counters)
            await _converse(socket, mouth, mailbox)
        finally:
            self._open.discard(mailbox)
            self._shares.give_back(principal)
            session.sidebands.leave(mailbox)
        if mouth.moved and not socket.closed:
            await self._follow(session.call_id, principal, socket, mouth.unsaid)
        return socket

    async def close_all(self, _app: web.Application) -> None:
        """Tell every side band that this process leaves."""
        for mailbox in self._open:
            mailbox.close(WSCloseCode.GOING_AWAY)

    def _pace(self, principal: Principal) -> Pace:
        """One for all side bands of a key or a page."""
        made = Pace(MESSAGES_PER_S, MESSAGE_BURST, LONGEST_WAIT_S)
        return self._paces.setdefault(principal, made)

    async def _session(self, request: web.Request) -> CallSession:
        call_id = request.query.get("call_id")
        if not call_id:
            detail = "Name a call by call_id; sessions over a WebSocket alone are not offered."
            raise Problem("no_call_id", detail)
        session = self._intake.find(call_id, request[PRINCIPAL])
        while session.held:  # who joins hears what is told after the move, or after it failed
            await _sleep(HELD_LOOK_S)
            session = self._intake.find(call_id, request[PRINCIPAL])
        return session


def sideband_socket() -> web.WebSocketResponse:
    """The server's end of a side band, before it is prepared."""
    return web.WebSocketResponse(
        timeout=CLOSE_TIMEOUT_S,
        heartbeat=HEARTBEAT_S,
        protocols=(SUBPROTOCOL,),
        compress=False,
        autoping=False,  # pings have their pace too
        max_msg_size=MAX_MESSAGE_BYTES,
    )


async def _converse(socket: web.WebSocketResponse, mouth: _Mouth, mailbox: _Mailbox) -> None:
    reading = asyncio.ensure_future(_read(socket, mouth, mailbox))
    writing = asyncio.ensure_future(_write(socket, mailbox))
    try:
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        # Whoever left first: the last events may leave, for a moment.
        await asyncio.wait((writing,), timeout=2 * CLOSE_TIMEOUT_S)
    finally:
        # Nobody may read while it closes, or aiohttp hangs up before the peer's close has come
        # (RFC 6455 §7.1.1), and the peer takes a good end for a broken one.
        await end([reading, writing])
    for task in (reading, writing):
        error = _error_of(task)
        if error is not None:  # the end of this side band, and of nothing else
            mouth.failed()
            log.error("sideband_failed", call_id=mouth.session.call_id, exc_info=error)
            mailbox.close_code = WSCloseCode.INTERNAL_ERROR
    if not mouth.moved or mailbox.close_code is not WSCloseCode.OK:
        await _close(socket, mailbox.close_code or WSCloseCode.OK)


async def _read(socket: web.WebSocketResponse, mouth: _Mouth, mailbox: _Mailbox) -> None:
    try:
        async for message in socket:
            if message.type is WSMsgType.PING:
                await mouth.wait()
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                await mouth.say(message.data)
            elif message.type is not WSMsgType.PONG:
                mailbox.close(WSCloseCode.UNSUPPORTED_DATA)
                return
    finally:
        mailbox.close(WSCloseCode.OK)  # unless there was another reason


async def _write(socket: web.WebSocketResponse, mailbox: _Mailbox) -> None:
    while (text := await mailbox.next()) is not None:
        await socket.send_str(text)


async def _close(socket: web.WebSocketResponse, code: int) -> None:
    """Close; a peer that takes nothing more is given up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * CLOSE_TIMEOUT_S):
            await socket.close(code=code)


def _error_of(task: asyncio.Future[None]) -> BaseException | None:
    """What went wrong in it; a peer that is gone is no error."""
    error = None if task.cancelled() else task.exception()
    return None if isinstance(error, ConnectionError) else error
