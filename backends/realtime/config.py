"""The session's configuration: `session` of session.update, session.created and session.updated.

Fields that are about OpenAI's own service (tracing, prompt, truncation, …) are checked, kept and
shown again, and nothing is done with them; docs/realtime.md lists which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from backends.realtime.shape import Label, Name, Shape, Text

MAX_TOOLS = 128
# Objects that session.update merges into; every other value replaces the one before.
_MERGED = frozenset({("audio",), ("audio", "input"), ("audio", "output")})


class ServerVad(Shape):
    """A turn ends after `silence_duration_ms` without voice."""

    type: Literal["server_vad"]
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(300, ge=0, le=10_000)
    silence_duration_ms: int = Field(500, ge=0, le=10_000)
    idle_timeout_ms: int | None = Field(None, ge=5_000, le=30_000)
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Shape):
    """A turn ends when what was said sounds finished, at the latest after `max_silence_s`."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    @property
    def max_silence_s(self) -> float:
        """The longest wait that `eagerness` allows (OpenAI's guide: 8, 4 and 2 seconds)."""
        return {"low": 8.0, "medium": 4.0, "high": 2.0, "auto": 4.0}[self.eagerness]


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Pcm(Shape):
    """Signed 16-bit little-endian mono."""

    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class Pcmu(Shape):
    """G.711 µ-law."""

    type: Literal["audio/pcmu"]


class Pcma(Shape):
    """G.711 A-law."""

    type: Literal["audio/pcma"]


AudioFormat = Annotated[Pcm | Pcmu | Pcma, Field(discriminator="type")]


class Transcription(Shape):
    """Whether and how the caller's speech is written down for the client."""

    model: Label | None = None
    language: Label | None = None
    languages: list[Label] | None = Field(None, max_length=32)
    prompt: Text | None = None
    keywords: list[Label] | None = Field(None, max_length=256)
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(Shape):
    """Kept, not used: the caller's own device does it."""

    type: Literal["near_field", "far_field"]
    strength: float | None = None


class AudioInput(Shape):
    """What the caller says."""

    format: AudioFormat = Pcm(type="audio/pcm")
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = ServerVad(type="server_vad")


class Voice(Shape):
    """A voice by its id."""

    id: Label


class AudioOutput(Shape):
    """What the caller hears."""

    format: AudioFormat = Pcm(type="audio/pcm")
    voice: Label | Voice = "default"
    speed: float = Field(1.0, ge=0.25, le=1.5)


class Audio(Shape):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(Shape):
    """A function the client carries out; `parameters` is its JSON Schema."""

    type: Literal["function"]
    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class NamedFunction(Shape):
    """This function must be called."""

    type: Literal["function"]
    name: Name


ToolChoice = Literal["none", "auto", "required"] | NamedFunction
Modality = Literal["text", "audio"]
Modalities = Annotated[list[Modality], Field(min_length=1, max_length=1)]
MaxOutputTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]
Tools = Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)]


_SPOKEN: list[Modality] = ["audio"]


class SessionConfig(Shape):
    """The whole configuration, every field with its default."""

    type: Literal["realtime"]
    model: Label | None = None
    output_modalities: Modalities = Field(default_factory=_SPOKEN.copy)
    instructions: Text = ""
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    max_output_tokens: MaxOutputTokens = "inf"
    audio: Audio = Audio()
    tracing: Literal["auto"] | dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | dict[str, Any] = "auto"
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None
    # Ours: which backend a call wants is read where the call comes in.
    trunkline: dict[str, Any] | None = Field(None, exclude=True)

    @model_validator(mode="after")
    def _tools_have_names_of_their_own(self) -> SessionConfig:
        names = [tool.name for tool in self.tools]
        if len(set(names)) != len(names):
            raise ValueError("two tools have the same name")
        return self

    def merged(self, update: SessionConfig) -> SessionConfig:
        """This configuration with the fields that `update` was given. The model stays.

        Raises ValidationError when the two do not go together.
        """
        given = update.model_dump(exclude_unset=True)
        given["model"] = self.model
        return _CONFIG.validate_python(_merge(self.model_dump(), given, ()))

    def shown(self) -> dict[str, Any]:
        """The configuration as the client is shown it."""
        return self.model_dump(mode="json")


_CONFIG = TypeAdapter(SessionConfig)


def _merge(old: Any, new: Any, path: tuple[str, ...]) -> Any:
    merges = not path or path in _MERGED
    if not (merges and isinstance(old, Mapping) and isinstance(new, Mapping)):
        return new
    return {**old, **{key: _merge(old.get(key), new[key], (*path, key)) for key in new}}
