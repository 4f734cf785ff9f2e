"""Says in time what is due to relay workers: claims of calls that moved here, and that we live.

A beat every BEAT_S tells the workers of live calls that their transceiver lives, and goes on for
LINGER_S after their last call: a relay that hears neither sound nor beats of a node that carried
something a moment ago suspects it. Claims that are due between
two beats have a timer of their own (`transceiver.takeover.claims`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from transceiver.engine.trunk_port import Frames, TrunkPort
from wire import claim as claims
from wire.claim import Claim
from wire.errors import WireError
from wire.token import Route
from wire.trunk import FrameType

BEAT_S = 0.1
LINGER_S = 6.0
"""Longer than a relay remembers that a node carried something (5 s, `relay.supervisor.silence`)."""
CLAIM_PATIENCE_S = 0.2
"""How long a call that was taken over waits for its relay workers before it speaks. They answer in
a millisecond; by then they have been asked four times, and who has not answered is gone, or is
older than claims are."""


class Speaker(Protocol):
    """What is needed of the engine."""

    route: Route

    def workers(self) -> Collection[bytes]:
        """The relay workers that live calls use."""

    def calls(self) -> Sequence[object]:
        """Live calls."""

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter."""


class Claiming:
    """The shell of `claims`. Nothing is sent before `start`, and nothing after `stop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: TrunkPort, engine: Speaker) -> None:
        self._loop = loop
        self._port = port
        self._claims = port.claims
        port.on_claimed = self._on_claimed
        self._engine = engine
        self._used_s: dict[bytes, float] = {}  # when a live call last used the worker
        self._beat: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[str, tuple[Callable[[], None], asyncio.TimerHandle]] = {}

    def start(self) -> None:
        """There are calls."""
        if self._beat is None:
            self._on_beat()

    def stop(self) -> None:
        """The port is about to close."""
        for timer in (self._beat, self._timer):
            if timer is not None:
                timer.cancel()
        self._beat = self._timer = None

    def claim(self, call_id: str, said: tuple[Claim, ...], workers: Collection[bytes]) -> None:
        """Tell these workers now, and all others in time, that a call is ours, or somebody's."""
        self._claims.claim(call_id, said, workers, self._loop.time())
        self._on_timer()

    def redirect(self, worker: bytes, said: Collection[Claim]) -> None:
        """A worker sent here what is another's by now: tell it once."""
        frames = {worker: [claim.frame() for claim in said]}
        self._port.tell(self._engine.route, FrameType.CLAIM, frames)

    def when_claimed(self, call_id: str, then: Callable[[], None]) -> None:
        """Call `then` once, when the workers have answered or CLAIM_PATIENCE_S is over."""
        patience = self._loop.call_later(CLAIM_PATIENCE_S, self._claimed, call_id)
        self._waiting[call_id] = then, patience
        if not self._claims.is_open(call_id):
            self._claimed(call_id)

    def forget(self, call_id: str) -> None:
        """The call is over."""
        if call_id in self._waiting:
            self._waiting.pop(call_id)[1].cancel()
        self._claims.forget(call_id)

    def _on_claimed(self, worker: bytes, frames: Frames) -> None:
        """A worker's answers."""
        for address, payload in frames:
            try:
                call_id = self._claims.answered(worker, claims.read(address, payload))
            except WireError as error:
                self._engine.count(error.reason)
                continue
            if call_id and not self._claims.is_open(call_id):
                self._claimed(call_id)

    def _claimed(self, call_id: str) -> None:
        if call_id in self._waiting:
            then, patience = self._waiting.pop(call_id)
            patience.cancel()
            then()

    def _on_beat(self) -> None:
        now = self._loop.time()
        used = self._used_s | dict.fromkeys(self._engine.workers(), now)
        self._used_s = {worker: at_s for worker, at_s in used.items() if at_s > now - LINGER_S}
        rests = not self._used_s and not self._engine.calls()
        self._beat = None if rests else self._loop.call_later(BEAT_S, self._on_beat)
        alive = dict.fromkeys(self._used_s, (claims.ALIVE,))
        self._port.tell(self._engine.route, FrameType.ALIVE, alive)
        self._claims.beat(now)
        self._on_timer()

    def _on_timer(self) -> None:
        """Send what is due, and come back for what is due next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        out = self._claims.poll(self._loop.time())
        if out:
            self._port.tell(self._engine.route, FrameType.CLAIM, out)
        due_s = self._claims.due_s()
        if due_s is not None:
            self._timer = self._loop.call_at(due_s, self._on_timer)
