"""Which backend a call gets, when there are several.

    session.trunkline.backend = NAME     that one; a name nobody has is the caller's mistake
    session.model = NAME of a backend    that one; every other model is the backend's to judge
    neither                              one that is ready and has room, by weight

Each backend has a link of its own, so one that is lost, slow or stuck keeps no other from its
calls; a call whose backend is away is refused and not sent to another kind of model. A backend
that is there and does not answer is left alone for a while (`transceiver.breaker`).
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from transceiver.breaker import Breaker
from transceiver.link_errors import BackendAbsent, CallLimit, LinkError
from transceiver.model_link import ModelLink


class UnknownBackend(LinkError):  # noqa: N818 - a mistake of the caller, not of ours
    """The session asks for a backend that no operator named."""


@dataclass(frozen=True)
class ShownBackend:
    """One backend as a caller may see it: what to ask for, what it calls itself, how it is.

    `kind` is empty until it greeted.
    """

    name: str
    kind: str
    state: Literal["ready", "full", "away"]


@dataclass(frozen=True)
class Backend:
    """One backend as calls are given to it."""

    name: str
    link: ModelLink
    weight: int = 1
    breaker: Breaker = field(default_factory=Breaker)

    @property
    def has_room(self) -> bool:
        """Whether it would take a call now, as far as is known here."""
        link = self.link
        return link.ready and not (link.max_calls and link.calls >= link.max_calls)

    @property
    def shown(self) -> ShownBackend:
        """What a person may know of it before a call."""
        state: Literal["ready", "full", "away"] = "ready" if self.has_room else "full"
        return ShownBackend(self.name, self.link.backend, state if self.link.ready else "away")

    def answered(self, error: LinkError | None, now: float) -> None:
        """A call was answered by the backend, or, with BackendAbsent, was not."""
        if isinstance(error, BackendAbsent):
            self.breaker.failed(now)
        else:
            self.breaker.succeeded(now)


class Backends:
    """All backends of this process. `chance` gives numbers from 0 to 1, `now` seconds.

    Raises ValueError for none, and for a name used twice.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        chance: Callable[[], float] = random.random,  # shares of load, not secrets
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._by_name = {backend.name: backend for backend in backends}
        if not backends or len(self._by_name) != len(backends):
            raise ValueError("one or more backends, each name once")
        self._chance = chance
        self._now = now
        for backend in backends:
            backend.link.on_answer = self._reporter(backend)

    @property
    def names(self) -> tuple[str, ...]:
        """What callers may ask for."""
        return tuple(self._by_name)

    @property
    def shown(self) -> tuple[ShownBackend, ...]:
        """All of them, for a person who chooses."""
        return tuple(backend.shown for backend in self._by_name.values())

    @property
    def counters(self) -> Counter[str]:
        """The counters of all links, added up."""
        total: Counter[str] = Counter()
        for backend in self._by_name.values():
            total.update(asdict(backend.link.counters))
            total["backend_breakers_open"] += backend.breaker.open
        return total

    def choose(self, session_json: str) -> ModelLink:
        """The link for a call with this session.

        Raises UnknownBackend, BackendAbsent (none of those that may take it is ready) or CallLimit
        (those that are ready are full).
        """
        asked, model = wishes(session_json)
        if asked is not None and asked not in self._by_name:
            raise UnknownBackend("no backend has the name the session asks for")
        chosen = self._by_name.get(asked if asked is not None else model or "")
        if chosen is None:
            chosen = self._by_weight()
        elif not chosen.breaker.allows(self._now()):
            raise BackendAbsent(f"no backend: {chosen.name} does not answer")
        chosen.breaker.asked(self._now())
        return chosen.link

    def _reporter(self, backend: Backend) -> Callable[[LinkError | None], None]:
        return lambda error: backend.answered(error, self._now())

    def _by_weight(self) -> Backend:
        now = self._now()
        allowed = [
            backend
            for backend in self._by_name.values()
            if backend.weight and backend.has_room and backend.breaker.allows(now)
        ]
        if not allowed:
            raise self._refusal()
        # Who did not answer a moment ago comes after the others: so a second try goes elsewhere.
        candidates = [b for b in allowed if not b.breaker.suspect(now)] or allowed
        point = self._chance() * sum(backend.weight for backend in candidates)
        for backend in candidates:
            point -= backend.weight
            if point < 0:
                return backend
        return candidates[-1]  # the sum was rounded

    def _refusal(self) -> LinkError:
        weighted = [backend for backend in self._by_name.values() if backend.weight]
        now = self._now()
        if any(backend.link.ready and backend.breaker.allows(now) for backend in weighted):
            return CallLimit("every backend that is there holds its limit of calls")
        reasons = "; ".join(f"{b.name}: {b.link.down_reason or 'no answer'}" for b in weighted)
        return BackendAbsent(f"no backend: {reasons}")


def wishes(session_json: str) -> tuple[str | None, str | None]:
    """The backend and the model a session names; None for what it does not, or not as text."""
    session = _object(_parsed(session_json))
    return _text(_object(session.get("trunkline")).get("backend")), _text(session.get("model"))


def _parsed(session_json: str) -> object:
    try:
        return json.loads(session_json) if session_json else None
    except (ValueError, RecursionError):  # checked where it came in; here it says nothing
        return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
