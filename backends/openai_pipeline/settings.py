# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""What the pipeline over OpenAI-compatible servers can be told."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, SecretStr

from backends.agent.settings import AgentSettings
from fleet.settings import within
from trunkline.process.address import shown

OPENAI_URL = "https://api.openai.com/v1"


def _base_url(value: Any) -> str:
    text = str(value).strip().rstrip("/")
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    # A key belongs into its own variable: this one is shown in logs and errors.
    if not good or "@" in text or "?" in text or "#" in text:
        raise ValueError("not a base URL (https://host/v1), without user, query or fragment")
    return text


def _voices(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    voices = tuple(item.strip() for item in items)
    for voice in voices:
        if not 1 <= len(voice) <= 256:
            raise ValueError(f"{shown(voice)} is not a voice (1–256 characters)")
    return voices


BaseUrl = Annotated[str, PlainValidator(_base_url)]
Voices = Annotated[tuple[str, ...], PlainValidator(_voices)]
Seconds = Annotated[int, within("a number of seconds", 1, 120)]


class PipelineSettings(AgentSettings):
    """Three servers, each with its URL, key and model."""

    backend_stt_url: BaseUrl = Field(OPENAI_URL, description="base URL of /audio/transcriptions")
    backend_stt_key: SecretStr = Field(SecretStr(""), description="its API key; empty sends none")
    backend_stt_model: str = Field("gpt-4o-mini-transcribe", description="its model")
    backend_stt_language: str = Field("", description="what callers speak (en); empty guesses")
    backend_stt_partials: bool = Field(
        False, description="transcribe also while callers speak: about one request a second"
    )
    backend_llm_url: BaseUrl = Field(OPENAI_URL, description="base URL of /chat/completions")
    backend_llm_key: SecretStr = Field(SecretStr(""), description="its API key; empty sends none")
    backend_llm_model: str = Field("gpt-4.1-mini", description="its model")
    backend_tts_url: BaseUrl = Field(OPENAI_URL, description="base URL of /audio/speech")
    backend_tts_key: SecretStr = Field(SecretStr(""), description="its API key; empty sends none")
    backend_tts_model: str = Field("gpt-4o-mini-tts", description="its model")
    backend_tts_voice: str = Field("alloy", description="the voice of calls that name none")
    backend_tts_voices: Voices = Field(
        (),
        description="other voices that calls may name, separated by commas",
        json_schema_extra={"default": "none"},
    )
    backend_tts_rate_hz: Annotated[int, within("a rate in Hz", 8_000, 48_000)] = Field(
        24_000, description="rate of the PCM that the speech server sends, in Hz"
    )
    backend_model_timeout_s: Seconds = Field(
        15, description="seconds without an answer after which a server is given up, 1–120"
    )
