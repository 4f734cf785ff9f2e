"""Links to backends that are up, down or full as a test says."""

from __future__ import annotations

from typing import cast

from transceiver.link.backends import Backend
from transceiver.link.counters import LinkCounters
from transceiver.link.model_link import ModelLink


class Link:
    """What is asked of a link before a call is opened on it."""

    def __init__(
        self, name: str, *, ready: bool = True, calls: int = 0, max_calls: int = 0
    ) -> None:
        self.backend = name
        self.ready, self.calls, self.max_calls = ready, calls, max_calls
        self.down_reason = "" if ready else "connection lost"
        self.counters = LinkCounters(link_connects=1)


def backend(name: str, weight: int = 1, **state: int) -> Backend:
    """A backend with such a link; `state` as the link takes it."""
    return Backend(name, as_link(name, **state), weight)


def as_link(name: str = "default", **state: int) -> ModelLink:
    """Such a link, to code that wants a real one."""
    return cast(ModelLink, Link(name, **state))  # type: ignore[arg-type]
