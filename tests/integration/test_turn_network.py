"""The network legs of a turn, on a real call: Chrome's engine outside, an agent inside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import aiohttp
import numpy as np
import pytest

from backends.agent.agent import AgentProfile
from backends.agent.hosting import AgentHost
from backends.agent.tools import Toolbox
from launcher.stack import Stack, StackSettings
from loadtest.sound import silence, tone
from loadtest.target import Target
from tests.backends.agent.instant import instant_models
from tests.integration.libwebrtc_caller import LibwebrtcCaller
from trunkline.backend import AudioFormat, Backend, BackendServer
from trunkline.process.address import Address

MOST_TURNS = 8  # until the caller has sent a report on what it heard
GREETING = "Hello there, how can I help you?"


@pytest.fixture
async def caller() -> AsyncIterator[LibwebrtcCaller]:
    """Connected to a whole stack with an agent whose models take no time."""
    session = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    profile = AgentProfile(session=session, greeting=GREETING)
    agent = AgentHost(nullcontext(instant_models()), Toolbox(), profile)
    listen = Address("127.0.0.1", 0)
    backend = BackendServer(Backend(agent.handle, accepts=(AudioFormat.PCM16_16000,)), listen)
    async with agent.running(), backend, aiohttp.ClientSession() as http:
        settings = StackSettings({"TRUNKLINE_TRANSCEIVER_BACKEND": f"127.0.0.1:{backend.port}"})
        async with Stack(settings) as stack:
            caller = LibwebrtcCaller(http, Target(stack.console_url, stack.api_key))
            await caller.connect()
            yield caller
            await caller.close()


def _named(caller: LibwebrtcCaller, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(message) for message in caller.messages]
    return [event for event in events if event["type"] == kind]


def _over(caller: LibwebrtcCaller) -> list[dict[str, Any]]:
    """The turns that are over, without the greeting, which is none of the caller's."""
    return [one for one in _named(caller, "trunkline.turn") if one["final"] and one["turn"]]


async def _turn(caller: LibwebrtcCaller) -> dict[str, Any]:
    """Say something and hear the answer: what the agent says about the turn."""
    told = len(_over(caller))
    await caller.talk(np.concatenate([tone(0.5, 300, 8000), silence(1.0)]))
    await caller.until(lambda: len(_over(caller)) > told)
    return _over(caller)[-1]


async def test_a_turn_tells_what_the_network_cost(caller: LibwebrtcCaller) -> None:
    """The caller's RTCP gives the round trip, the transceiver the wait; the client adds its own."""
    for _ in range(MOST_TURNS):
        record = await _turn(caller)
        if record["network"]["rtt_ms"] is not None:
            break
    assert 0 <= record["network"]["rtt_ms"] < 1000
    assert record["network"]["jitter_buffer_ms"] is not None
    report = {"type": "trunkline.client_report", "event_id": "mine", "turn": record["turn"]}
    caller.send(json.dumps({**report, "rtt_ms": "much"}))
    await caller.until(lambda: _named(caller, "error"))
    caller.send(json.dumps({**report, "rtt_ms": 2.5, "jitter_buffer_ms": 60}))
    await caller.until(lambda: _named(caller, "trunkline.turn_network"))
    error = _named(caller, "error")[0]["error"]
    assert (error["param"], error["event_id"]) == ("rtt_ms", "mine")
    (told,) = _named(caller, "trunkline.turn_network")
    own = {"client_rtt_ms": 2.5, "client_jitter_buffer_ms": 60}
    assert told["network"] == {**record["network"], **own}
