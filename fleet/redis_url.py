"""Where Redis is: the notations that an operator may write.

    redis://user:password@host:port/0
    rediss://…                                       the same over TLS
    redis+sentinel://host1:26379,host2:26379/service/0
    rediss+sentinel://user:password@host1:26379/service/0

The user and password of a Sentinel URL are for the servers behind the sentinels, and TLS is for
both. No text that this module raises quotes any part of a URL: a mistyped one may be a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

MAX_SENTINELS = 16
DEFAULT_SENTINEL_PORT = 26379

_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_PATH = re.compile(r"(?P<service>[A-Za-z0-9._-]+)(?:/(?P<db>[0-9]{1,4})?)?")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """Who to ask for the current master of `service`, and how to speak to it."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    tls: bool
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def is_sentinel(url: str) -> bool:
    """Whether the URL names sentinels and not a server."""
    return url.partition("://")[0] in _SCHEMES


def parse_sentinel(url: str) -> SentinelUrl:
    """Read a Sentinel URL. Raises ValueError without quoting it."""
    scheme, _, rest = url.partition("://")
    places, _, path = rest.rpartition("@")[2].partition("/")
    login = rest.rpartition("@")[0]
    found = _PATH.fullmatch(path)
    if scheme not in _SCHEMES or not found:
        raise ValueError("a Sentinel URL ends in /service/0")
    username, _, password = login.partition(":")
    return SentinelUrl(
        sentinels=_places(places),
        service=found["service"],
        db=int(found["db"] or 0),
        tls=_SCHEMES[scheme],
        username=unquote(username) or None,
        password=unquote(password) or None,
    )


def _places(text: str) -> tuple[tuple[str, int], ...]:
    found = [_PLACE.fullmatch(item) for item in text.split(",")]
    places = [
        (item["host"].strip("[]"), int(item["port"] or DEFAULT_SENTINEL_PORT))
        for item in found
        if item
    ]
    if not len(found) == len(places) <= MAX_SENTINELS:
        raise ValueError(f"1 to {MAX_SENTINELS} sentinels, host:port, separated by commas")
    if not all(0 < port < 65536 for _, port in places):
        raise ValueError("a port is 1 to 65535")
    return tuple(places)
