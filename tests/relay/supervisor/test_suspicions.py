"""What the supervisor does with a suspicion: it is said soon, or not at all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from fleet.errors import StoreUnavailable
from fleet.suspicion import Cause, Suspicion, SuspicionChannel
from relay.shared.nodes import FlowOwner
from relay.supervisor import suspicions
from relay.supervisor.crew import Crew
from relay.supervisor.silence import Silence
from relay.supervisor.suspicion_counts import SuspicionCounts
from relay.supervisor.suspicions import Suspicions
from tests.virtual_time import Run

A = FlowOwner(7, 9)


class Channel:
    """A Redis that answers, or does not."""

    def __init__(self) -> None:
        self.said: list[Suspicion] = []
        self.is_away = False
        self.waits = asyncio.Event()
        self.waits.set()

    async def publish(self, suspicion: Suspicion) -> None:
        await self.waits.wait()
        if self.is_away:
            raise StoreUnavailable("Redis at nowhere")
        self.said.append(suspicion)


class World:
    """One supervisor's suspicions in virtual time; `silent` are seen at every look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent: list[FlowOwner] = []
        self.channel = Channel()
        self.crew = SimpleNamespace(posts=[], nodes=None, suspicion_counts=SuspicionCounts())
        monkeypatch.setattr(Silence, "look", lambda *_: self.silent)
        clock = asyncio.get_running_loop()
        self.suspicions = Suspicions(
            cast(Crew, self.crew), cast(SuspicionChannel, self.channel), now=clock.time
        )
        loops = self.suspicions.loops().values()
        self.tasks = [asyncio.ensure_future(loop()) for loop in loops]

    async def see(self, *silent: FlowOwner, seconds: float = 0.06) -> None:
        self.silent = list(silent)
        await asyncio.sleep(seconds)
        self.silent = []

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def test_what_is_seen_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Node and epoch; the log has the index of the node and nothing else of it."""

    async def live() -> None:
        world = World(monkeypatch)
        with capture_logs() as logs:
            await world.see(A)
        await asyncio.sleep(1)
        assert world.channel.said == [Suspicion(7, 9, Cause.SILENT)]
        assert logs == [{"event": "transceiver_silent", "node": 7, "log_level": "info"}]
        assert world.crew.suspicion_counts.named() == {"suspicions": 1, "suspicions_unsaid": 0}
        await world.end()

    run(live())


def test_what_could_not_be_said_in_a_second_is_let_go(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis hangs nothing piles up, and afterwards nobody hears of long ago."""
    monkeypatch.setattr(suspicions, "MOST_UNSAID", 3)

    async def live() -> None:
        world = World(monkeypatch)
        world.channel.waits.clear()
        await world.see(A)
        await world.see(*[FlowOwner(node, 1) for node in range(5)])
        await asyncio.sleep(2)
        world.channel.waits.set()
        await asyncio.sleep(1)
        assert world.channel.said == [Suspicion(7, 9, Cause.SILENT)]  # it was on its way
        assert world.crew.suspicion_counts.named() == {"suspicions": 6, "suspicions_unsaid": 5}
        await world.see(A)
        await asyncio.sleep(1)
        assert len(world.channel.said) == 2
        await world.end()

    run(live())


def test_an_outage_is_survived_and_said_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of every store; the first suspicion after it is said."""

    async def live() -> None:
        world = World(monkeypatch)
        world.channel.is_away = True
        with capture_logs() as logs:
            for _ in range(4):
                await world.see(A)
                await asyncio.sleep(5)
        assert [log["event"] for log in logs].count("store_outage_began") == 1
        assert world.crew.suspicion_counts.named() == {"suspicions": 4, "suspicions_unsaid": 4}
        world.channel.is_away = False
        await world.see(A)
        await asyncio.sleep(5)
        assert world.channel.said == [Suspicion(7, 9, Cause.SILENT)]
        await world.end()

    run(live())
