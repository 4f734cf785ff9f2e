"""`python -m backends.voice`: an agent to talk to, on this machine alone."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import prometheus_client

from backends.agent.agent import Agent, Manner
from backends.agent.answers import Phrases
from backends.agent.metrics import TurnMetrics
from backends.agent.models import Models
from backends.agent.tools import GetTime, Toolbox
from backends.serve import AudioFormat, Call, serve
from backends.voice.instant import instant_models
from backends.voice.local import local_models
from backends.voice.phrases import FAILED, TIME, Phrase
from backends.voice.settings import VoiceSettings
from fleet.address import Address
from fleet.errors import AddressInUse
from fleet.settings import load

CONTEXT_CHARS = 5000  # about 1,200 of SmolLM2's 2,048 tokens


class VoiceAgent:
    """The handler of every call; `running` holds what calls share."""

    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings
        self._toolbox = Toolbox([GetTime(), *settings.backend_tools])
        self._metrics = TurnMetrics()
        self._manner = _manner(settings)
        self._models: Models | None = None

    async def handle(self, call: Call) -> None:
        """Converse on a call."""
        assert self._models is not None  # noqa: S101 - serving begins inside `running`
        await Agent(call, self._models, self._toolbox, self._manner, self._metrics).run()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load the models and serve metrics. Raises StartupError."""
        async with metrics_served(self._settings.backend_metrics, self._metrics):
            if self._settings.backend_models == "instant":
                self._models = instant_models()
                yield
                return
            phrases = (TIME, *_phrases(self._settings))
            said = (self._manner.phrases.filler, self._manner.phrases.apology, FAILED)
            async with local_models(phrases, said) as self._models:
                yield


@asynccontextmanager
async def metrics_served(address: Address | None, metrics: TurnMetrics) -> AsyncIterator[None]:
    """Serve /metrics, if an address is set. Raises AddressInUse."""
    if address is None:
        yield
        return
    try:
        server, _ = prometheus_client.start_http_server(
            address.port, address.host, metrics.registry
        )
    except OSError:
        raise AddressInUse(f"{address} is in use by another process") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _manner(settings: VoiceSettings) -> Manner:
    return Manner(
        session={
            "instructions": settings.backend_instructions,
            "audio": {
                "input": {
                    "turn_detection": {"type": "semantic_vad"},
                    "transcription": {"model": "whisper-tiny.en"},
                },
            },
        },
        greeting=settings.backend_greeting,
        phrases=Phrases(),
        context_chars=CONTEXT_CHARS,
    )


def _phrases(settings: VoiceSettings) -> list[Phrase]:
    return [
        Phrase(tool.name, re.compile("|".join(tool.phrases), re.IGNORECASE), tool.say)
        for tool in settings.backend_tools
        if tool.phrases
    ]


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(VoiceSettings, "python -m backends.voice")
    agent = VoiceAgent(settings)
    serve(
        agent.handle,
        settings,
        accepts=(AudioFormat.PCM16_16000,),
        name="voice",
        max_calls=settings.backend_max_calls,
        around=agent.running(),
    )


if __name__ == "__main__":
    main()
