"""A data channel of a synthetic caller: aiortc's SCTP over the light DTLS association."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCDtlsTransport, RTCSctpTransport
from aiortc.rtcsctptransport import RTCSctpCapabilities

from loadtest.callers.calling import Connection
from loadtest.errors import CallFailedError

SCTP_PORT = 5000
OPEN_TIMEOUT_S = 10.0


class Channel:
    """The channel `label` of a connection, opened by `open`; `hear` gets what comes on it."""

    def __init__(self, connection: Connection, label: str, hear: Callable[[str], None]) -> None:
        dtls = connection.caller.dtls
        if dtls is None:
            raise ValueError("no association yet")
        self._opened = asyncio.Event()
        self._sctp = RTCSctpTransport(cast(RTCDtlsTransport, _Pipe(connection)), SCTP_PORT)
        dtls.on_data = self._feed
        self._label, self._hear = label, hear

    async def open(self) -> None:
        """Open it. Raises CallFailedError `no_channel`."""
        await self._sctp.start(RTCSctpCapabilities(maxMessageSize=65536), SCTP_PORT)
        channel = RTCDataChannel(self._sctp, RTCDataChannelParameters(label=self._label))
        channel.on("open", self._opened.set)
        channel.on("message", self._hear)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._opened.wait()
        except TimeoutError:
            raise CallFailedError("no_channel") from None
        self._channel = channel

    def say(self, text: str) -> None:
        """Send a message; nothing once the association is over."""
        with suppress(Exception):
            self._channel.send(text)

    async def close(self) -> None:
        """Let go of the association."""
        await self._sctp.stop()

    def _feed(self, packet: bytes) -> None:
        with suppress(Exception):  # what aiortc does not expect of a peer costs this packet
            _run(self._sctp._handle_data(packet))


class _Pipe:
    """As much of an RTCDtlsTransport as an RTCSctpTransport uses."""

    state = "connected"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # RFC 8832 section 6: the DTLS client opens the even streams.
        self._role = "client" if connection.caller.remote.setup == "passive" else "server"

    async def _send_data(self, data: bytes) -> None:
        self._connection.tell(data)

    def _register_data_receiver(self, receiver: object) -> None:
        """Do nothing: packets are handed in by our own call."""

    def _unregister_data_receiver(self, receiver: object) -> None:
        """Do nothing, as above."""


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends."""
    with suppress(StopIteration):
        coroutine.send(None)
    coroutine.close()
