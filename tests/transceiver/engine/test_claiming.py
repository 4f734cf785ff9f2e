"""How long relay workers hear that a transceiver lives."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from tests.virtual_time import virtual_loop
from transceiver.engine.claiming import LINGER_S, Claiming
from transceiver.engine.trunk_port import TrunkPort
from transceiver.takeover.claims import Claims
from wire.token import Route

ROUTE = Route(cluster=1, node=2, epoch=3)


@dataclass
class Speaker:
    """An engine as far as a beat asks it."""

    route: Route = ROUTE
    used: set[bytes] = field(default_factory=set)

    def workers(self) -> set[bytes]:
        return self.used

    def calls(self) -> list[object]:
        return [object()] if self.used else []

    def count(self, reason: str, amount: int = 1) -> None:
        raise AssertionError(reason)


@dataclass
class Port:
    """A trunk port that counts the workers it tells something."""

    claims: Claims = field(default_factory=Claims)
    told: Counter[bytes] = field(default_factory=Counter)

    def tell(self, _route: Route, _kind: object, frames: dict[bytes, object]) -> None:
        self.told.update(frames.keys())


def test_a_worker_hears_it_for_a_while_after_its_last_call() -> None:
    """As long as its relay remembers that something came; then there is nothing to do."""

    async def scene() -> None:
        speaker, port = Speaker(used={b"one", b"two"}), Port()
        claiming = Claiming(asyncio.get_running_loop(), cast("TrunkPort", port), speaker)
        claiming.start()
        speaker.used = {b"two"}
        await asyncio.sleep(LINGER_S / 2)
        before = port.told[b"one"]
        assert before == port.told[b"two"]
        await asyncio.sleep(LINGER_S)
        heard = port.told[b"one"]
        assert before < heard < port.told[b"two"]
        speaker.used = set()
        await asyncio.sleep(2 * LINGER_S)
        assert port.told[b"one"] == heard
        assert claiming._beat is None
        speaker.used = {b"one"}
        claiming.start()
        assert claiming._beat is not None
        claiming.stop()

    with virtual_loop() as run:
        run(scene())
