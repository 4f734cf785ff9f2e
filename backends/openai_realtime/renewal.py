"""One upstream session after another, as if it were one.

    connected ── old enough, at a turn boundary ─┐
        ▲     └─ lost ───────────────────────────┴─▶ connect ─▶ say all again ─▶ connected
        │                                              └─ for GIVE_UP_S in vain ─▶ UpstreamFailure

What a new session answers to being told of the conversation is not for the caller, who knows it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Literal

import structlog

from backends.openai_realtime.upstream import Realtime, Upstream, UpstreamFailure
from fleet.backoff import Pace

GIVE_UP_S = 10.0
LATER_S = 60.0
PACE = Pace(first_s=0.1, longest_s=2.0)
FATAL = frozenset({"unauthorized", "refused"})  # no second try will be answered otherwise
MARK = "trunkline_opening_"  # how the ids of events begin that are said again
HIDDEN = frozenset(
    {"conversation.item.added", "conversation.item.created", "conversation.item.done"}
)

log = structlog.get_logger(__name__)
Why = Literal["age", "lost"]
Counted = Callable[[str], None]


class Sessions:
    """The upstream sessions of one call; `count` takes why one was renewed: age or lost."""

    def __init__(
        self,
        call_id: str,
        realtime: Realtime,
        renew_s: float,
        count: Counted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call_id = call_id
        self._realtime = realtime
        self._renew_s = renew_s
        self._count = count
        self._clock = clock
        self._stack = AsyncExitStack()
        self._upstream: Upstream | None = None
        self._there = asyncio.Event()
        self._began_s = 0.0
        self._hidden: set[str] = set()  # ids of items that this session was told of
        self._greeted = True  # its first events are for the caller

    async def __aenter__(self) -> Sessions:
        """The first session. Raises UpstreamFailure."""
        await self._connect()
        self._there.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def old(self) -> bool:
        """Whether it is time for a new one."""
        return self.due_in_s <= 0

    @property
    def due_in_s(self) -> float:
        """How long until then."""
        return self._began_s + self._renew_s - self._clock()

    async def send(self, text: str) -> None:
        """Send to the session that there is, or will be. Raises UpstreamFailure."""
        await self._there.wait()
        assert self._upstream is not None  # noqa: S101 - it is there
        with suppress(UpstreamFailure):  # whoever receives hears of it, and renews
            await self._upstream.send(text)

    async def receive(self, within_s: float | None) -> str | None:
        """The next event, None for none in that time. Raises UpstreamFailure."""
        assert self._upstream is not None  # noqa: S101 - there is one, or it is being renewed
        try:
            async with asyncio.timeout(within_s):
                return await self._upstream.receive()
        except TimeoutError:
            return None

    def hides(self, event: Mapping[str, Any]) -> bool:
        """Whether an event answers what was said again, and is no news to the caller."""
        kind, item = str(event.get("type")), event.get("item")
        if not self._greeted and kind in {"session.created", "session.updated"}:
            self._greeted = kind == "session.updated"
            return True
        if kind in HIDDEN and isinstance(item, dict):
            return str(item.get("id")) in self._hidden
        error = event.get("error")
        if kind == "error" and isinstance(error, dict):
            return self._refused(error)
        return False

    async def renew(self, why: Why, openings: list[dict[str, Any]]) -> None:
        """Another session, which is told `openings`. Raises UpstreamFailure.

        One that is only old is kept for LATER_S where no other can be had.
        """
        age_s = self._clock() - self._began_s
        self._there.clear()
        if await self._replaced(why):
            await self.open(openings)
            self._count(why)
            told = {"call_id": self._call_id, "reason": why, "age_s": round(age_s, 1)}
            log.info("upstream_renewed", **told)
        self._there.set()

    async def _replaced(self, why: Why) -> bool:
        before = self._stack
        if why == "lost":
            await before.aclose()
            await self._reconnect()
            return True
        try:
            await self._connect()
        except UpstreamFailure as failure:
            log.warning("upstream_not_renewed", call_id=self._call_id, reason=failure.reason)
            self._began_s = self._clock() - self._renew_s + LATER_S
            return False
        await before.aclose()
        return True

    async def open(self, openings: list[dict[str, Any]]) -> None:
        """Say a conversation again, of which the caller knows. Raises UpstreamFailure."""
        assert self._upstream is not None  # noqa: S101 - it has just connected
        self._greeted, self._hidden = False, set()
        for number, event in enumerate(openings):
            item = event.get("item")
            if isinstance(item, dict):
                self._hidden.add(str(item.get("id")))
            await self._upstream.send(json.dumps({**event, "event_id": f"{MARK}{number}"}))

    async def _reconnect(self) -> None:
        ends_s, failures = self._clock() + GIVE_UP_S, 0
        while True:
            try:
                await self._connect()
                return
            except UpstreamFailure as failure:
                failures += 1
                pause_s = PACE.wait_s(failures)
                if failure.reason in FATAL or self._clock() + pause_s >= ends_s:
                    raise UpstreamFailure("lost") from None
            await asyncio.sleep(pause_s)

    async def _connect(self) -> None:
        stack = AsyncExitStack()
        self._upstream = await stack.enter_async_context(self._realtime.connected())
        self._stack, self._began_s = stack, self._clock()

    def _refused(self, error: Mapping[str, Any]) -> bool:
        if not str(error.get("event_id") or "").startswith(MARK):
            return False
        log.warning("upstream_opening_refused", call_id=self._call_id, code=error.get("code"))
        return True
