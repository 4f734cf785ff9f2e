"""kill -9 of a backend under a live caller: real processes, a stock client, models behind HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from launcher import Stack, StackSettings
from launcher.backend_choice import BACKENDS
from launcher.plan import backend_part
from launcher.variables import Ports
from tests.backends.openai.stand_in import THINK, StandIn, answer_of, stand_in
from tests.conftest import free_port
from tests.examples.caller import RATE_HZ, TIMEOUT_S, Caller, calling

SILENCE = np.zeros(0, np.int16)
EVENTS = "oai-events"
SECOND = "another backend"
PATIENT = {"TRUNKLINE_TRANSCEIVER_BACKEND_RESTORE_S": "120"}  # a busy machine starts slowly


@asynccontextmanager
async def running(models: StandIn, *, second: bool) -> AsyncIterator[Stack]:
    """A stack with the pipeline; `second`: another process of it stands beside the first."""
    ports = Ports.free()
    other = f"127.0.0.1:{free_port()}"
    variables = {"TRUNKLINE_LOG_LEVEL": "info", "TRUNKLINE_RELAY_WORKERS": "1", **PATIENT}
    for stage in ("STT", "LLM", "TTS"):
        variables[f"TRUNKLINE_BACKEND_{stage}_URL"] = models.url
    if second:
        first = f"127.0.0.1:{ports.backend}"
        # Nearly all calls go to the first; who is killed is known beforehand.
        variables["TRUNKLINE_TRANSCEIVER_BACKENDS"] = f"first={first}*1000,second={other}*1"
    settings = StackSettings(variables, ports=ports, backend="openai_pipeline", ready_timeout_s=60)
    async with Stack(settings) as stack:
        if not second:
            await connected(stack, 1)
            yield stack
            return
        own = {**stack.variables, "TRUNKLINE_BACKEND_LISTEN": other}
        own["TRUNKLINE_BACKEND_ADMIN"] = f"127.0.0.1:{free_port()}"
        part = backend_part(own, dict(os.environ), BACKENDS["openai_pipeline"], name=SECOND)
        async with Stack(StackSettings(variables, ready_timeout_s=60), parts=[part]):
            await connected(stack, 2)
            yield stack


async def connected(stack: Stack, backends: int) -> None:
    """Return when the transceiver has heard from so many."""
    async with asyncio.timeout(TIMEOUT_S):
        while sum("backend_connected" in line for line in stack.log.lines) < backends:
            await asyncio.sleep(0.05)


class Talker:
    """Somebody who writes to the agent and hears it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.channel = caller._peer.createDataChannel(EVENTS)
        self.events: list[dict[str, Any]] = []
        self.channel.on("message", self._heard)

    def _heard(self, text: str) -> None:
        self.events.append(json.loads(text))
        self.caller._news.set()

    def named(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def say(self, words: str) -> None:
        """A written turn, and a wish for an answer."""
        content = [{"type": "input_text", "text": words}]
        item = {"type": "message", "role": "user", "content": content}
        for event in (
            {"type": "conversation.item.create", "item": item},
            {"type": "response.create"},
        ):
            self.channel.send(json.dumps(event))

    async def until_named(self, kind: str, count: int = 1) -> dict[str, Any]:
        await self.caller.until(lambda: len(self.named(kind)) >= count)
        return self.named(kind)[count - 1]


def asked(models: StandIn) -> list[str]:
    """What the chat model was asked with last, message by message."""
    messages = models.requests[THINK][-1].body["messages"]
    return [str(message["content"]) for message in messages]


@pytest.mark.slow
@pytest.mark.parametrize("second", [False, True], ids=["the same restarts", "another goes on"])
async def test_the_call_stays_and_what_was_said_is_known(second: bool) -> None:
    """The peer connection lives, an answer comes, and the model is asked with all of the past."""
    async with stand_in() as models, running(models, second=second) as stack:
        models.answers = lambda _: answer_of("Nice to meet you, ", "Ada.")
        caller = Caller(SILENCE)
        talker = Talker(caller)
        async with calling(stack, SILENCE, caller):
            await talker.until_named("session.created")
            talker.say("My name is Ada.")
            await talker.until_named("output_audio_buffer.stopped")
            if second:
                # It stays down: only the other can go on.
                keeper = stack.parts["backend"]
                watching, keeper._watching = keeper._watching, None
                assert watching is not None
                watching.cancel()
            os.kill(stack.parts["backend"].pid, signal.SIGKILL)
            restored = await talker.until_named("trunkline.backend_restored")
            assert restored["losses"] == 1
            heard = len(caller.heard)
            talker.say("What is my name?")
            await talker.until_named("response.done", 2)
            await talker.until_named("output_audio_buffer.stopped", 2)
            assert len(caller.heard) > heard + RATE_HZ // 4
            assert caller.state == "connected"
        said = asked(models)
        assert said[-3:] == ["My name is Ada.", "Nice to meet you, Ada.", "What is my name?"]
        assert len(talker.named("session.created")) == 1
        assert [line for line in stack.log.lines if "call_ended" in line and "failed" in line] == []
