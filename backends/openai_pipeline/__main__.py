"""`python -m backends.openai_pipeline`: an agent whose models are behind HTTP. Wiring only."""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from backends.agent.agent import Manner
from backends.agent.hosting import AgentHost
from backends.agent.models import Models, Stage
from backends.agent.tools import GetTime, Toolbox
from backends.openai_pipeline.chat import HttpChat
from backends.openai_pipeline.hearing import HttpSpeechToText
from backends.openai_pipeline.server import Endpoint, Server
from backends.openai_pipeline.settings import PipelineSettings
from backends.openai_pipeline.speech import HttpTextToSpeech
from backends.operated import serve
from backends.voice.local import missing
from fleet.errors import StartupError
from fleet.settings import load
from trunkline.backend import AudioFormat, Backend


@asynccontextmanager
async def pipeline(settings: PipelineSettings) -> AsyncIterator[Models]:
    """The models, for the length of the block. Raises StartupError without a voice detector."""
    try:
        # Loaded here and not above: without the extra, this module must still say what is missing.
        from backends.voice.silero import SileroVad  # noqa: PLC0415

        voice = SileroVad()
    except ModuleNotFoundError as error:
        raise StartupError(missing(error.name or "a package")) from None
    hear = _server("stt", settings, settings.backend_stt_url, settings.backend_stt_key)
    think = _server("llm", settings, settings.backend_llm_url, settings.backend_llm_key)
    speak = _server("tts", settings, settings.backend_tts_url, settings.backend_tts_key)
    try:
        yield Models(
            voice=voice,
            hear=HttpSpeechToText(
                hear, settings.backend_stt_language, settings.backend_stt_partials
            ),
            think=HttpChat(think),
            speak=HttpTextToSpeech(
                speak,
                settings.backend_tts_voice,
                settings.backend_tts_voices,
                settings.backend_tts_rate_hz,
            ),
        )
    finally:
        for server in (hear, think, speak):
            await server.close()


def _server(stage: Stage, settings: PipelineSettings, url: str, key: SecretStr) -> Server:
    model = str(getattr(settings, f"backend_{stage}_model"))
    return Server(stage, Endpoint(url, key, model, float(settings.backend_model_timeout_s)))


def manner(settings: PipelineSettings) -> Manner:
    """How the agent behaves."""
    return Manner(
        session={
            "model": settings.backend_llm_model,
            "instructions": settings.backend_instructions,
            "audio": {
                "input": {
                    "turn_detection": {"type": "semantic_vad"},
                    "transcription": {"model": settings.backend_stt_model},
                },
                "output": {"voice": settings.backend_tts_voice},
            },
        },
        greeting=settings.backend_greeting,
    )


def main() -> None:
    """Serve until SIGTERM."""
    settings = load(PipelineSettings, "python -m backends.openai_pipeline")
    toolbox = Toolbox([GetTime(), *settings.backend_tools])
    agent = AgentHost(pipeline(settings), toolbox, manner(settings), settings.backend_metrics)
    serve(
        Backend(
            agent.handle,
            name="openai_pipeline",
            accepts=(AudioFormat.PCM16_16000,),
            max_calls=settings.backend_max_calls,
            around=agent.running,
        ),
        settings,
    )


if __name__ == "__main__":
    main()
