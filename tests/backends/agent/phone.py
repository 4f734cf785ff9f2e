"""A caller and a transceiver for one agent: sound and events both ways, no network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from backends.agent.agent import EVENTS_LABEL, Agent, AgentProfile
from backends.agent.metrics import TurnMetrics
from backends.agent.models import Models
from backends.agent.tools import Toolbox
from fleet.ending import end
from trunkline.backend.call import Call, CallOver
from trunkline.backend.outbox import Outbox
from trunkline.v1 import model_pb2

PCM16_16000 = model_pb2.AUDIO_FORMAT_PCM16_16000
FRAME_SAMPLES = 320
TIMEOUT_S = 10.0
LOUD = (8000 * np.sin(np.arange(FRAME_SAMPLES) / 5)).astype("<i2").tobytes()
SILENT = bytes(2 * FRAME_SAMPLES)


class Phone:
    """What the agent said is in `events` (data channel) and `frames`; `clears` counts clears.

    It plays what it is sent as fast as `play` says: all at once, or frame by frame. A clear that is
    not answered at once is answered by the next `play`.
    """

    def __init__(
        self, session: dict[str, Any] | None = None, restored: model_pb2.Restored | None = None
    ) -> None:
        self.snapshot = b""  # the newest that the agent remembered
        self.events: list[dict[str, Any]] = []
        self.frames: list[bytes] = []
        self.clears = 0
        self.sent = 0  # frames that have left for the caller's ear
        self.plays_at_once = True
        self.answers_clears = True
        self._outbox = Outbox()
        started = model_pb2.CallStarted(
            call_id="call_1",
            format=PCM16_16000,
            send_credit=250,
            session_json=json.dumps(session) if session else "",
            restored=restored,
        )
        self.hung_up = asyncio.Event()
        self.metrics = TurnMetrics()
        self.call = Call(1, started, self._outbox, self._on_hang_up)
        self._news = asyncio.Event()

    def say(self, frame: bytes, count: int) -> None:
        """The caller makes a sound of `count` times 20 ms."""
        for _ in range(count):
            audio = model_pb2.Audio(payload=frame, duration=960)
            self.call.hear(model_pb2.CallEvent(call=1, audio=audio))

    def speak(self, frames: int = 30) -> None:
        """The caller says something and stops: half a second and the silence that shows it."""
        self.say(LOUD, frames)
        self.say(SILENT, 8)

    def send(self, kind: str, **members: Any) -> None:
        """The client sends an event."""
        data = model_pb2.Data(label=EVENTS_LABEL, text=json.dumps({"type": kind, **members}))
        self.call.hear(model_pb2.CallEvent(call=1, data=data))

    def tell_network(
        self, packets: int, waited_ms: float, round_trip_ms: float | None = None
    ) -> None:
        """The transceiver says what the network costs."""
        network = model_pb2.Network(
            packets=packets, waited_ms=waited_ms, round_trip_ms=round_trip_ms
        )
        self.call.hear(model_pb2.CallEvent(call=1, network=network))

    def named(self, kind: str) -> list[dict[str, Any]]:
        """Events of one type so far."""
        return [event for event in self.events if event["type"] == kind]

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something to hold, and return it."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (found := condition()):
                self._news.clear()
                await self._news.wait()
            return found

    async def heard(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of a type, once it is there."""
        events = await self.until(lambda: self.named(kind)[count - 1 : count])
        return dict(events[0])

    async def told(self, turn: int, *, final: bool) -> dict[str, Any]:
        """What is told of a turn, once it is: as the answer begins to leave, or when it is over."""

        def found() -> list[dict[str, Any]]:
            records = self.named("trunkline.turn")
            return [one for one in records if (one["turn"], one["final"]) == (turn, final)]

        return dict((await self.until(found))[0])

    def play(self, frames: int) -> None:
        """So many more frames leave for the caller's ear."""
        self.sent += frames
        self._report()

    async def carry(self) -> None:
        """Be the transceiver."""
        while True:
            await self._outbox.wait()
            for batch in self._outbox.take():
                for event in batch.events:
                    self._take(event)
            self._news.set()

    def _take(self, event: model_pb2.BackendEvent) -> None:
        if event.HasField("audio"):
            self.frames.append(event.audio.payload)
            credit = model_pb2.Credit(frames=1)
            self.call.hear(model_pb2.CallEvent(call=1, credit=credit))
            if self.plays_at_once:
                self.play(1)
        elif event.HasField("data"):
            self.events.append(json.loads(event.data.text))
        elif event.HasField("remember"):
            self.snapshot = event.remember.snapshot
        elif event.HasField("clear"):
            self.clears += 1
            if self.answers_clears:
                self._report()

    def _report(self) -> None:
        playout = model_pb2.Playout(sent_frames=self.sent, clears=self.clears)
        self.call.hear(model_pb2.CallEvent(call=1, playout=playout))

    def _on_hang_up(self, call: Call) -> None:
        self.hung_up.set()
        call.end()


@asynccontextmanager
async def talking_to(
    models: Models,
    toolbox: Toolbox | None = None,
    profile: AgentProfile | None = None,
    session: dict[str, Any] | None = None,
    alone: bool = True,
    restored: model_pb2.Restored | None = None,
) -> AsyncIterator[Phone]:
    """A call with an agent; at its end nothing of the agent is left, or the test fails.

    Not `alone`, others run in the same loop, and whoever runs them counts.
    """
    before = asyncio.all_tasks()
    phone = Phone(session, restored)
    agent = Agent(
        phone.call, models, toolbox or Toolbox(), profile or AgentProfile(), phone.metrics
    )
    carrying = asyncio.create_task(phone.carry())
    running = asyncio.create_task(_run(agent))
    try:
        if restored is None:
            await phone.heard("session.created")
        yield phone
    finally:
        phone.call.end()
        await asyncio.wait_for(running, TIMEOUT_S)
        await end({carrying})
        assert not alone or not asyncio.all_tasks() - before


async def _run(agent: Agent) -> None:
    try:
        await agent.run()
    except CallOver:
        return
