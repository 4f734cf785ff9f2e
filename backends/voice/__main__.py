"""`python -m backends.voice`: an agent to talk to, on this machine alone."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import re
from contextlib import AbstractAsyncContextManager

from backends.agent.agent import AgentProfile
from backends.agent.answers import Phrases
from backends.agent.hosting import AgentHost
from backends.agent.models import Models
from backends.agent.settings import AgentSettings
from backends.agent.tools import GetTime, Toolbox
from backends.operated import serve
from backends.voice.local import local_models
from backends.voice.phrases import FAILED, TIME, Phrase
from fleet.settings import load
from trunkline.backend import AudioFormat, Backend

CONTEXT_CHARS = 5000  # about 1,200 of SmolLM2's 2,048 tokens


def _models(settings: AgentSettings, profile: AgentProfile) -> AbstractAsyncContextManager[Models]:
    sentences = (profile.phrases.filler, profile.phrases.apology, FAILED)
    return local_models((TIME, *_phrases(settings)), sentences)


def _profile(settings: AgentSettings) -> AgentProfile:
    return AgentProfile(
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


def _phrases(settings: AgentSettings) -> list[Phrase]:
    return [
        Phrase(tool.name, re.compile("|".join(tool.phrases), re.IGNORECASE), tool.say)
        for tool in settings.backend_tools
        if tool.phrases
    ]


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(AgentSettings, "python -m backends.voice")
    profile = _profile(settings)
    toolbox = Toolbox([GetTime(), *settings.backend_tools])
    agent = AgentHost(_models(settings, profile), toolbox, profile, settings.backend_metrics)
    serve(
        Backend(
            agent.handle,
            name="voice",
            accepts=(AudioFormat.PCM16_16000,),
            max_calls=settings.backend_max_calls,
            around=agent.running,
        ),
        settings,
    )


if __name__ == "__main__":
    main()
