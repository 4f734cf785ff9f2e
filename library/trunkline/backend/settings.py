# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""What a backend's process can be told, by environment variables.

TRUNKLINE_BACKEND_LISTEN    host:port for transceivers and health       127.0.0.1:9301
TRUNKLINE_BACKEND_DRAIN_S   how long calls may go on after SIGTERM, s   30
TRUNKLINE_BACKEND_HOLD_MS   how long a call waits for its transceiver   20000
TRUNKLINE_LOG_LEVEL         debug, info, warning or error               info
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trunkline.process.address import Address, shown

LONGEST_DRAIN_S = 86_400
LONGEST_HOLD_MS = 120_000
LEVELS = ("debug", "info", "warning", "error")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,6}")


_LISTEN = Address("127.0.0.1", 9301)
T = TypeVar("T")


class SettingsError(ValueError):
    """A line for each bad variable, `NAME: rule`."""


@dataclass(frozen=True)
class Settings:
    """As they are in an empty environment."""

    listen: Address = _LISTEN
    drain_s: int = 30
    log_level: str = "info"
    hold_ms: int = 20_000

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Settings:
        """From an environment; an empty variable counts as unset. Raises SettingsError."""
        variables = _Variables(environ)
        settings = cls(
            variables.take("TRUNKLINE_BACKEND_LISTEN", Address.parse, cls.listen),
            variables.take("TRUNKLINE_BACKEND_DRAIN_S", _seconds, cls.drain_s),
            variables.take("TRUNKLINE_LOG_LEVEL", _level, cls.log_level),
            variables.take("TRUNKLINE_BACKEND_HOLD_MS", _milliseconds, cls.hold_ms),
        )
        if variables.wrong:
            raise SettingsError("\n".join(variables.wrong))
        return settings


class _Variables:
    """An environment, and what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.wrong: list[str] = []

    def take(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self._environ.get(name)
        try:
            return parse(text) if text else default
        except ValueError as error:
            self.wrong.append(f"{name}: {error}")
            return default


def _seconds(text: str) -> int:
    return _number(text, "seconds", LONGEST_DRAIN_S)


def _milliseconds(text: str) -> int:
    return _number(text, "milliseconds", LONGEST_HOLD_MS)


def _number(text: str, unit: str, longest: int) -> int:
    if not _WHOLE_NUMBER.fullmatch(text.strip()) or int(text) > longest:
        raise ValueError(f"{shown(text)} is not a number of {unit} (0–{longest})")
    return int(text)


def _level(text: str) -> str:
    level = text.strip().lower()
    if level not in LEVELS:
        raise ValueError(f"{shown(text)} is not {', '.join(LEVELS[:-1])} or {LEVELS[-1]}")
    return level
