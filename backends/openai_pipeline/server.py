"""One OpenAI-compatible server: how it is asked, and how its failures are named.

    ModelFailure.reason   when
    unreachable           no connection, or it ended before an answer began (after one more try)
    timeout               nothing came for `timeout_s`
    rate_limited          429; until its Retry-After has passed, nothing is sent there
    unauthorized          401, 403
    server_error          5xx, or an error in the middle of a stream
    refused               any other 4xx
    cut_off               the answer ended in the middle
    malformed             the answer is not what the API promises

The client's own retries are off: they wait for up to a minute, and a caller does not.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
import openai
from pydantic import SecretStr

from backends.agent.models import ModelFailure, Stage

CONNECT_TIMEOUT_S = 2.0
KEYLESS = "none"  # the client insists on a key; local servers look at none
DEFAULT_AWAY_S = 1.0  # after a 429 that does not say how long
LONGEST_AWAY_S = 60.0  # a server may ask for an hour; a minute later we ask again

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Endpoint:
    """Where a model is: `url` ends in the version, as in https://api.openai.com/v1."""

    url: str
    key: SecretStr
    model: str
    timeout_s: float = 15.0


class Server:
    """Shared by all calls. Close it at the end."""

    def __init__(
        self, stage: Stage, endpoint: Endpoint, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.model = endpoint.model
        self.client = openai.AsyncOpenAI(
            base_url=endpoint.url,
            api_key=endpoint.key.get_secret_value() or KEYLESS,
            max_retries=0,
            timeout=httpx2.Timeout(endpoint.timeout_s, connect=CONNECT_TIMEOUT_S),
        )
        self._stage: Stage = stage
        self._clock = clock
        self._away_until_s = 0.0

    async def close(self) -> None:
        """End connections."""
        await self.client.close()

    async def ask(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """The beginning of an answer. Raises ModelFailure.

        A connection kept from before may be dead without our knowing, so a request that got no
        answer at all is sent once more.
        """
        self._check_away()
        with self.failures():
            try:
                return await request()
            except openai.APITimeoutError:
                raise
            except openai.APIConnectionError:
                return await request()

    @contextmanager
    def failures(self, *, begun: bool = False) -> Iterator[None]:
        """Turn what the client raises into ModelFailure; `begun` when an answer is coming in."""
        try:
            yield
        except openai.RateLimitError as error:
            raise self._rate_limited(error.response.headers) from None
        except (openai.APITimeoutError, httpx2.TimeoutException):
            raise self.failure("timeout") from None
        except openai.APIStatusError as error:
            raise self.failure(_status_reason(error.status_code)) from None
        except openai.APIConnectionError:
            raise self.failure("cut_off" if begun else "unreachable") from None
        except openai.APIResponseValidationError:
            raise self.failure("malformed") from None
        except openai.APIError:  # an error event inside a stream
            raise self.failure("server_error") from None
        except httpx2.HTTPError:
            raise self.failure("cut_off") from None
        except (openai.OpenAIError, ValueError):
            raise self.failure("malformed") from None

    def failure(self, reason: str) -> ModelFailure:
        """A failure of this stage."""
        return ModelFailure(self._stage, reason)

    def _check_away(self) -> None:
        left_s = self._away_until_s - self._clock()
        if left_s > 0:
            raise ModelFailure(self._stage, "rate_limited", left_s)

    def _rate_limited(self, headers: httpx2.Headers) -> ModelFailure:
        away_s = min(retry_after_s(headers.get("retry-after", "")), LONGEST_AWAY_S)
        self._away_until_s = self._clock() + away_s
        return ModelFailure(self._stage, "rate_limited", away_s)


def retry_after_s(value: str) -> float:
    """Retry-After (RFC 9110 §10.2.3) in seconds from now; DEFAULT_AWAY_S when it says nothing."""
    try:
        if value.strip().replace(".", "", 1).isdecimal():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return DEFAULT_AWAY_S


def _status_reason(status: int) -> str:
    if status in (401, 403):
        return "unauthorized"
    return "server_error" if status >= 500 else "refused"
