"""Which backend a call gets, when there are several.

    session.trunkline.backend = NAME     that one; a name nobody has is the caller's mistake
    session.model = NAME of a backend    that one; every other model is the backend's to judge
    neither                              one that is ready and has room, by weight

After that come the limits (`transceiver.engine.call_tickets`): a call gets the first of its choices
that has room in its limits.

Each backend has a link of its own, so one that is lost, slow or stuck keeps no other from its
calls; a call whose backend is away is refused and not sent to another kind of model. A backend
that is there and does not answer is left alone for a while (`transceiver.link.breaker`).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic_core import from_json

from transceiver.link.breaker import Breaker
from transceiver.link.errors import BackendAbsent, CallLimit, LinkError
from transceiver.link.model_link import ModelLink
from trunkline.v1 import model_pb2


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
class Choice:
    """A backend that may take a call, and the models whose limits the call would count against.

    Those are the backend itself and, if the session names a model that is no backend, that one.
    """

    backend: Backend
    models: tuple[str, ...]


@dataclass(eq=False)
class Backend:
    """One backend as calls are given to it. `coming` is how many it was given and not asked yet."""

    name: str
    link: ModelLink
    weight: int = 1
    breaker: Breaker = field(default_factory=Breaker)
    coming: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it would take a call now, as far as is known here."""
        link = self.link
        return link.ready and not (link.max_calls and link.calls + self.coming >= link.max_calls)

    def allows(self, now: float) -> bool:
        """Whether a call may be tried here."""
        return self.has_room and self.breaker.allows(now)

    def kin(self, other: Backend) -> bool:
        """Whether another that is drawn by weight is of this one's kind."""
        alike = self.weight and other.weight and self.link.backend == other.link.backend
        return bool(alike) and other is not self

    def takes(self, audio_format: int) -> bool:
        """Whether sound may come in that format; who names none takes Opus."""
        return audio_format in (self.link.accepts or (model_pb2.AUDIO_FORMAT_OPUS,))

    @property
    def shown(self) -> ShownBackend:
        """What a person may know of it before a call."""
        state: Literal["ready", "full", "away"] = "ready" if self.has_room else "full"
        return ShownBackend(self.name, self.link.backend, state if self.link.ready else "away")

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """A call is on its way here: the room it needs is given to no other meanwhile."""
        self.coming += 1
        try:
            yield
        finally:
            self.coming -= 1

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
            backend.link.called = backend.name

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

    def choices(self, session_json: str) -> list[Choice]:
        """The backends that may take a call with this session, best first; one at least.

        Raises UnknownBackend, BackendAbsent (none of those that may take it is ready) or CallLimit
        (those that are ready are full).
        """
        asked, model = wishes(session_json)
        if asked is not None and asked not in self._by_name:
            raise UnknownBackend("no backend has the name the session asks for")
        named = self._by_name.get(asked if asked is not None else model or "")
        wanted = [named] if named else [b for b in self._by_name.values() if b.weight]
        now = self._now()
        allowed = [b for b in wanted if b.allows(now)]
        if not allowed:
            raise _refusal(wanted, now)
        other = (model,) if model and model not in self._by_name else ()
        return [Choice(b, (b.name, *other)) for b in self._in_order(allowed, now)]

    def of(self, link: ModelLink | None) -> Backend | None:
        """The backend that the link leads to."""
        return next((one for one in self._by_name.values() if one.link is link), None)

    def successors(self, lost: Backend, session_json: str, audio_format: int) -> list[Choice]:
        """Who may go on now with a call that `lost` had: itself first, then others of its kind.

        Of its kind are those that call themselves the same and take the call's format; a call that
        asked for its backend by name gets no other. Empty while none of them is ready.
        """
        now = self._now()
        asked, model = wishes(session_json)
        named = lost.name in (asked, model)
        kin = [lost, *(b for b in self._by_name.values() if not named and lost.kin(b))]
        ready = [b for b in kin if b.allows(now) and b.takes(audio_format)]
        others = self._in_order([b for b in ready if b is not lost], now)
        other = (model,) if model and model not in self._by_name else ()
        return [Choice(b, (b.name, *other)) for b in [*ready[: lost in ready], *others]]

    def on_ready(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time that one of them has greeted."""
        for backend in self._by_name.values():
            backend.link.on_ready = listener

    def resuming(self, name: str, instance: str) -> ModelLink:
        """The link of a call that another process put on the backend of that name.

        Raises BackendAbsent: no backend is called so here, it is away, or no stream leads to
        `instance`, the process of the backend that has the call ("": it did not say).
        """
        backend = self._by_name.get(name)
        if backend is None or not backend.link.ready:
            raise BackendAbsent(f"no backend {name}")
        if instance and not backend.link.reaches(instance):
            raise BackendAbsent("another process of the backend has it")
        return backend.link

    def ask(self, backend: Backend) -> ModelLink:
        """The link to a backend that a call was given, and which it asks now.

        Raises BackendAbsent when another call asks meanwhile whether the backend answers again.
        """
        now = self._now()
        if not backend.breaker.allows(now):
            raise BackendAbsent(f"no backend: {backend.name} does not answer")
        backend.breaker.asked(now)
        return backend.link

    def _reporter(self, backend: Backend) -> Callable[[LinkError | None], None]:
        return lambda error: backend.answered(error, self._now())

    def _in_order(self, backends: Sequence[Backend], now: float) -> list[Backend]:
        """Who did not answer a moment ago comes last: so a second try goes elsewhere."""
        suspects = [backend for backend in backends if backend.breaker.suspect(now)]
        others = [backend for backend in backends if backend not in suspects]
        return self._drawn(others) + self._drawn(suspects)

    def _drawn(self, backends: Sequence[Backend]) -> list[Backend]:
        """All of them, drawn one after another by weight."""
        left, drawn = list(backends), []
        while len(left) > 1:
            drawn.append(left.pop(self._draw(left)))
        return drawn + left

    def _draw(self, backends: Sequence[Backend]) -> int:
        point = self._chance() * sum(backend.weight for backend in backends)
        for number, backend in enumerate(backends):
            point -= backend.weight
            if point < 0:
                return number
        return len(backends) - 1  # the sum was rounded


def _refusal(backends: Sequence[Backend], now: float) -> LinkError:
    if any(backend.link.ready and backend.breaker.allows(now) for backend in backends):
        return CallLimit("every backend that is there holds its limit of calls")
    reasons = "; ".join(f"{b.name}: {b.link.down_reason or 'no answer'}" for b in backends)
    return BackendAbsent(f"no backend: {reasons}")


def wishes(session_json: str) -> tuple[str | None, str | None]:
    """The backend and the model a session names; None for what it does not, or not as text."""
    session = _object(_parsed(session_json))
    return _text(_object(session.get("trunkline")).get("backend")), _text(session.get("model"))


def _parsed(session_json: str) -> object:
    try:
        return from_json(session_json) if session_json else None
    except ValueError:  # checked where it came in; here it says nothing
        return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
