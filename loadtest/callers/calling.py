"""A call over a port of its own: placed, connected, kept, hung up. Its holder speaks and hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp

from loadtest.callers.caller import Caller
from loadtest.callers.connecting import connect
from loadtest.callers.dtls import Identity
from loadtest.callers.port import Later, Port
from loadtest.callers.voice import Voice
from loadtest.errors import CallFailedError
from loadtest.signaling import Answer, hang_up, post_offer
from loadtest.target import Target
from wire.classify import PacketKind, classify

Hear = Callable[[bytes, float], None]
"""Takes a media packet, still protected, and the Unix time at which it came."""


@dataclass(frozen=True)
class Connection:
    """A call that has its keys."""

    answer: Answer
    caller: Caller
    port: Port
    voice: Voice

    def say(self, payload: bytes) -> None:
        """Send the next packet of sound."""
        [packet] = self.voice.say([payload])
        self.port.send(packet, time.time())

    def tell(self, data: bytes) -> None:
        """Send application data over DTLS."""
        if self.caller.dtls is not None:
            for packet in self.caller.dtls.say(data):
                self.port.send(packet, time.time())

    def check(self) -> None:
        """Send a check, which keeps consent (RFC 7675)."""
        self.port.send(self.caller.check, time.time())


@asynccontextmanager
async def calling(
    http: aiohttp.ClientSession,
    target: Target,
    identity: Identity,
    hear: Hear,
    session_json: str = "",
    *,
    data: bool = False,
) -> AsyncIterator[Connection]:
    """A connected call for the length of the block; hung up at the end, whatever ends it.

    Checks of the other side are answered. Raises CallFailedError; what failed first is the reason.
    """
    caller = Caller(identity, data=data)
    answer = await post_offer(http, target, caller.offer, session_json)
    try:
        async with connected(caller, answer, hear) as connection:
            yield connection
    except BaseException:
        with suppress(CallFailedError):
            await hang_up(http, target, answer)
        raise
    await hang_up(http, target, answer)


@asynccontextmanager
async def connected(caller: Caller, answer: Answer, hear: Hear) -> AsyncIterator[Connection]:
    """The call of an answer with its keys, for the length of the block. Raises CallFailedError."""
    loop = asyncio.get_running_loop()
    first = caller.answered(answer.sdp)
    try:
        port = Port(caller.remote.host, caller.remote.port, Later())
    except OSError:
        raise CallFailedError("no_socket") from None
    try:
        connection = Connection(answer, caller, port, await connect(caller, port, first))
        loop.add_reader(port.sock, _reader(connection, hear))
        try:
            yield connection
        finally:
            loop.remove_reader(port.sock)
    finally:
        port.close()


def _reader(connection: Connection, hear: Hear) -> Callable[[], None]:
    caller, port = connection.caller, connection.port

    def deliver(packet: bytes, came_s: float) -> None:
        if classify(packet) is PacketKind.RTP:
            hear(packet, came_s)
            return
        with suppress(CallFailedError):  # an alert: the call is over, which its holder finds out
            for answer in caller.receive(packet):
                port.send(answer, came_s)

    return lambda: port.receive(deliver, time.time())
