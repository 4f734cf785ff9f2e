"""A caller behind a port, from its first check to its keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from loadtest.callers.caller import Caller
from loadtest.callers.port import Port
from loadtest.callers.voice import Voice
from loadtest.errors import CallFailedError

RETRANSMIT_S = 0.1
TIMEOUT_S = 10.0


async def connect(caller: Caller, port: Port, first: list[bytes]) -> Voice:
    """Check, handshake, keys; `first` are the packets that `Caller.answered` gave.

    Media that comes meanwhile is lost. Raises CallFailedError, `timeout_connect` among others.
    """
    loop = asyncio.get_running_loop()
    keys: asyncio.Future[Voice] = loop.create_future()
    loop.add_reader(port.sock, _reader(caller, port, keys))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _send(port, first)
            while not keys.done():
                await asyncio.wait({keys}, timeout=RETRANSMIT_S)
                _send(port, [] if keys.done() else caller.again())
        return keys.result()
    except TimeoutError:
        raise CallFailedError("timeout_connect") from None
    finally:
        loop.remove_reader(port.sock)


def _reader(caller: Caller, port: Port, keys: asyncio.Future[Voice]) -> Callable[[], None]:
    def deliver(packet: bytes, _seen_s: float) -> None:
        if keys.done():
            return
        try:
            _send(port, caller.receive(packet))
        except CallFailedError as error:
            keys.set_exception(error)
            return
        if caller.voice is not None:
            keys.set_result(caller.voice)

    return lambda: port.receive(deliver, time.time())


def _send(port: Port, packets: list[bytes]) -> None:
    for packet in packets:
        port.send(packet, time.time())
