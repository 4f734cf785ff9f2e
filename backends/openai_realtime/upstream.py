"""The WebSocket to a Realtime API, by the official client.

UpstreamFailure.reason   when
unreachable              no connection, or none in time
unauthorized             401, 403
rate_limited             429
refused                  any other refusal
lost                     the connection ended in the middle of a call
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import openai
import websockets
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus, WebSocketException

OPEN_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
KEYLESS = "none"


class UpstreamFailure(Exception):  # noqa: N818 - a state of the world, not a mistake
    """There is no upstream, or no longer; `reason` is a fixed word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Upstream(Protocol):
    """What a bridge needs of the connection."""

    async def send(self, text: str) -> None:
        """Send an event. Raises UpstreamFailure."""

    async def receive(self) -> str:
        """The next event. Raises UpstreamFailure."""


class Realtime:
    """A Realtime API: its base URL (https://host/v1), key and model."""

    def __init__(self, url: str, key: SecretStr, model: str) -> None:
        self._model = model
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=key.get_secret_value() or KEYLESS, max_retries=0
        )

    async def close(self) -> None:
        """Let the client go."""
        await self._client.close()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Upstream]:
        """A session of its own, for the length of the block. Raises UpstreamFailure."""
        options: Any = {
            "open_timeout": OPEN_TIMEOUT_S,
            "close_timeout": CLOSE_TIMEOUT_S,
            "max_size": MAX_MESSAGE_BYTES,
        }
        connecting = self._client.realtime.connect(
            model=self._model, websocket_connection_options=options
        )
        try:
            connection = await connecting.enter()
        except InvalidStatus as error:
            raise UpstreamFailure(_reason(error.response.status_code)) from None
        except (OSError, TimeoutError, WebSocketException, openai.OpenAIError):
            raise UpstreamFailure("unreachable") from None
        try:
            yield _Connection(connection)
        finally:
            await connection.close()


class _Connection:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_raw(text)
        except (websockets.ConnectionClosed, openai.OpenAIError):
            raise UpstreamFailure("lost") from None

    async def receive(self) -> str:
        try:
            content: bytes = await self._connection.recv_bytes()
        except (websockets.ConnectionClosed, openai.OpenAIError):
            raise UpstreamFailure("lost") from None
        return content.decode("utf-8", "replace")


def _reason(status: int) -> str:
    if status in (401, 403):
        return "unauthorized"
    return "rate_limited" if status == 429 else "refused"
