# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""`host:port` as a value: how processes are told where to listen and whom to call."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Self

MAX_PORT = 65535
# RFC 1123 §2.1 with the underscore that Kubernetes and Docker names carry in practice.
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_DIGITS = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, order=True)
class Address:
    """A host (name, IPv4 or bare IPv6) and a port, 0–65535; 0 asks for any free port.

    `str()` writes IPv6 in brackets (RFC 3986 §3.2.2), and `parse` reads that back.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        """Raise ValueError for a host that is no name or number, or a port out of range."""
        if not is_numeric(self.host) and (":" in self.host or not _HOST_NAME.fullmatch(self.host)):
            raise ValueError(f"{shown(self.host)} is not a host name or an IP address")
        if not 0 <= self.port <= MAX_PORT:
            raise ValueError(f"{self.port} is not a port (0–65535)")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[v6]:port`; without a host it is `[::]:port`, as in `:8080`.

        Raises ValueError with a sentence that quotes `text`.
        """
        host, colon, port = text.strip().rpartition(":")
        host = "[::]" if colon and not host else host
        bracketed = host.startswith("[") and host.endswith("]")
        bare_host = host[1:-1] if bracketed else host
        if not colon or not _DIGITS.fullmatch(port) or bracketed != (":" in bare_host):
            raise ValueError(f"{shown(text)} is not host:port or [IPv6]:port")
        return cls(bare_host, int(port))

    @property
    def numeric(self) -> bool:
        """Whether the host is an IP address, so that nothing has to be resolved."""
        return is_numeric(self.host)

    @property
    def unspecified(self) -> bool:
        """Whether it is `::` or `0.0.0.0`: every address of this machine, and of no other."""
        return self.numeric and ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """Let a settings field take an Address or its text. Only pydantic calls it, so only
        processes that have pydantic import it."""
        from pydantic_core import core_schema  # noqa: PLC0415 - the library works without it

        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.parse(str(value)),
            serialization=core_schema.to_string_ser_schema(),
        )


def is_numeric(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address (a zone, as in fe80::1%eth0, is allowed)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def shown(text: str, limit: int = 60) -> str:
    """Foreign text fit for one line of an error: printable and at most `limit` characters."""
    printable = "".join(char if char.isprintable() else "?" for char in text[: limit + 1])
    return printable if len(printable) <= limit else printable[:limit] + "…"
