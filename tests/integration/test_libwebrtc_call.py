"""A WebRTC stack that shares no code with this one calls a running Trunkline and hears itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from launcher.stack import Stack, StackSettings
from loadtest.compare import compare
from loadtest.sound import SPEECH, read_wav, silence
from loadtest.target import Target
from tests.integration.libwebrtc_caller import LibwebrtcCaller

TAIL_S = 1.0  # for the end of the echo to come back


@pytest.fixture(params=["opus", "pcm16_16000"])
async def caller(request: pytest.FixtureRequest) -> AsyncIterator[LibwebrtcCaller]:
    """A caller of a whole stack, whose echo backend speaks Opus or PCM."""
    variables = {"TRUNKLINE_BACKEND_ACCEPTS": request.param}
    async with Stack(StackSettings(variables)) as stack, aiohttp.ClientSession() as http:
        caller = LibwebrtcCaller(http, Target(stack.console_url, stack.api_key))
        yield caller
        await caller.close()


async def test_libwebrtc_hears_itself(caller: LibwebrtcCaller) -> None:
    """Speech and a message come back through relay, transceiver and backend; nothing is lost."""
    speech = read_wav(SPEECH)
    await caller.connect()
    await caller.message("is anybody there?")
    await caller.talk(np.concatenate([speech, silence(TAIL_S)]))
    assert caller.messages == ["is anybody there?"]
    echo = compare(speech, caller.heard)
    assert echo.correlation > 0.8
    assert echo.gap_ms <= 60
    statistics = await caller.statistics()
    assert statistics["inbound-rtp"].packets_lost == 0
    assert statistics["remote-inbound-rtp"].packets_lost == 0
    assert statistics["transport"].tls_version == "FEFD"  # DTLS 1.2, which a takeover stands on
