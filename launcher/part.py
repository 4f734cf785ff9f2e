"""A part of the stack as data: what to run, where it listens, how to see that it is ready."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from launcher.addresses import Binding

Probe = Callable[[], Awaitable[bool]]
"""Asked again and again until it says True; says False (never raises) while the part is not up."""


@dataclass(frozen=True)
class Part:
    """One process to run and keep running."""

    name: str
    command: tuple[str, ...]
    ready: Probe
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The whole environment of the process; may hold secrets, so it is never printed."""
    after: tuple[str, ...] = ()
    """Names of the parts that must be ready before this one starts."""
    binds: tuple[Binding, ...] = ()
    """Addresses it will bind; checked to be free before the first start."""
    address: str = ""
    """Where it is reached, for the table."""
    summary: str = ""
    """What it is, for the table."""
