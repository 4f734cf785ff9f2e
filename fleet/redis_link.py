"""The one way to a Redis: every store here uses a link, whatever kind of URL names it.

Errors become StoreUnavailable with host, port and reason, and never repeat what was sent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fleet.errors import NoMaster, StoreUnavailable
from fleet.redis_url import SentinelUrl, is_sentinel, parse_sentinel

ANSWER_TIMEOUT_S = 2.0
# Of a connection, however short an answer may take: TLS alone costs three round trips and some CPU.
CONNECT_TIMEOUT_S = 2.0
# Repeats of one command; longer outages are for the caller, who knows what can wait.
RETRIES = 2
RETRY_BASE_S = 0.05
RETRY_CAP_S = 0.5
MAX_CONNECTIONS = 8

counts: Counter[str] = Counter(
    directory_unreadable=0,
    flows_unreadable=0,
    limits_unreadable=0,
    suspicions_unreadable=0,
    leases_contested=0,
)
"""What stood in Redis and was none of this fleet's, and leases somebody took without a record."""

_REFUSALS = (
    *("NOAUTH", "WRONGPASS", "NOPERM", "invalid username-password", "invalid password"),
    "no permissions",
)


class RedisLink:
    """A client, the place it speaks to in words for a log, and how to let go of it.

    Connections are made by the first command. A Sentinel URL is asked for the master whenever a
    connection is made, so a failover needs nothing but the next command.
    """

    def __init__(
        self, url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S, retries: int = RETRIES
    ) -> None:
        """Raise ValueError for a URL that cannot be read; its text never quotes the URL."""
        self._answer_timeout_s = answer_timeout_s
        options: dict[str, Any] = {
            "decode_responses": True,
            "encoding_errors": "replace",
            "socket_timeout": answer_timeout_s,
            "socket_connect_timeout": max(answer_timeout_s, CONNECT_TIMEOUT_S),
            "retry": Retry(ExponentialWithJitterBackoff(RETRY_CAP_S, RETRY_BASE_S), retries),
            "max_connections": MAX_CONNECTIONS,
            "client_name": "trunkline",
        }
        self._sentinel: Sentinel | None = None
        try:
            if is_sentinel(url):
                self._open_sentinel(parse_sentinel(url), options)
            else:
                self.client = redis.asyncio.Redis.from_url(url, **options)
                self.place = _place(self.client)
        except ValueError:
            raise ValueError("not a Redis URL (redis://host:port/0)") from None

    def _open_sentinel(self, url: SentinelUrl, options: dict[str, Any]) -> None:
        tls: dict[str, Any] = {"ssl": True} if url.tls else {}
        login: dict[str, Any] = {"username": url.username, "password": url.password}
        timeouts = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout")}
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            url.sentinels,
            # One try each: the next sentinel is the repeat.
            sentinel_kwargs={
                **timeouts,
                **tls,
                "decode_responses": True,
                "retry": Retry(ExponentialWithJitterBackoff(), 0),
            },
        )
        self.client = self._sentinel.master_for(url.service, db=url.db, **options, **login, **tls)
        hosts = ", ".join(f"{host}:{port}" for host, port in url.sentinels)
        self.place = f"service {url.service} of sentinels {hosts}"

    async def close(self) -> None:
        """Let go of all connections."""
        await self.client.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel else ():
            await sentinel.aclose()

    @contextmanager
    def failures_named(self) -> Iterator[None]:
        """Turn whatever Redis and the network do wrong inside into StoreUnavailable.

        Also what the client cannot make sense of: an answer is foreign input, and whoever gives it
        may be no Redis at all.
        """
        try:
            yield
        except Exception as error:
            # Without the cause: its text may repeat what was sent, and that may be a password.
            known = isinstance(error, RedisError | OSError)
            reason = _reason(error, self._answer_timeout_s) if known else _misread(error)
            kind = NoMaster if self._sentinel and _is_silence(error) else StoreUnavailable
            raise kind(f"Redis at {self.place} {reason}") from None


def _place(client: redis.asyncio.Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _is_silence(error: Exception) -> bool:
    """Whether nobody answered; a refusal is an answer."""
    silences = (RedisConnectionError, RedisTimeoutError, OSError)
    return isinstance(error, silences) and not isinstance(error, AuthenticationError)


def _misread(error: Exception) -> str:
    return f"gave an answer that cannot be read ({type(error).__name__})"


def _reason(error: Exception, timeout_s: float) -> str:
    text = str(error)
    if isinstance(error, AuthenticationError) or any(word in text for word in _REFUSALS):
        return "refused the user or password"
    if isinstance(error, MasterNotFoundError):
        return "has no master that is up"
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return f"did not answer within {timeout_s:g} s"
    if isinstance(error, ResponseError):
        return f"answered with an error ({text.split(' ', 1)[0]})"
    cause = error.__cause__ or error.__context__ or error
    errno = getattr(cause, "errno", None)
    if isinstance(errno, int) and errno > 0:
        return f"cannot be reached ({os.strerror(errno).lower()})"
    return "cannot be reached"
