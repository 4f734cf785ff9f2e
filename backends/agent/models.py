"""What the conversation engine asks of models, and what they answer.

    VoiceActivity   is this a voice?                  every 32 ms of sound
    EndOfTurn       was that all?                     once a pause
    SpeechToText    what was said?                    while the caller speaks, and at each pause
    ChatModel       what is to be answered?           a stream of words and tool calls
    TextToSpeech    how does it sound?                a clause at a time

Sound is signed 16-bit little-endian mono at SAMPLE_RATE_HZ everywhere. `call` names the call that
asks, so that several calls share a model fairly. A model that is down, slow or breaks off raises
ModelFailure; cancelling the task that awaits a model ends the work it asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

SAMPLE_RATE_HZ = 16_000
BYTES_PER_MS = SAMPLE_RATE_HZ * 2 // 1000
WINDOW_SAMPLES = 512  # what Silero judges at a time
WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE_HZ

Stage = Literal["stt", "llm", "tts"]
ChatMessage = Mapping[str, Any]
"""One message as in the body of /v1/chat/completions."""


class ModelFailure(Exception):  # noqa: N818 - a state of the world, not a mistake
    """A model did not do its work; `reason` is a fixed word, fit for a log and a metric.

    `retry_after_s` is how long a server asked us to stay away.
    """

    def __init__(self, stage: Stage, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage: Stage = stage
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next words of the answer."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a function called; `arguments` is JSON as text."""

    call_id: str
    name: str
    arguments: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens read (`cached` of them not anew) and written; comes last, if at all."""

    read: int = 0
    cached: int = 0
    written: int = 0


ChatEvent = TextDelta | ToolCall | TokenUsage


class Hearing(Protocol):
    """The speech of one turn. Bounded by whoever implements it."""

    def feed(self, pcm: bytes) -> None:
        """More of it."""

    async def text(self, *, final: bool) -> str:
        """What has been said so far; `final` for the best there is. Raises ModelFailure.

        What is fed while it works counts next time. A newer request may make an unfinished one
        that is not final return the older text.
        """


class SpeechToText(Protocol):
    """Writes down what a caller says. `partials`: whether asking while the caller speaks pays."""

    partials: bool

    def listen(self, call: str) -> Hearing:
        """A new turn of `call`."""


class ChatModel(Protocol):
    """Answers."""

    def stream(
        self,
        call: str,
        messages: Sequence[ChatMessage],
        tools: Sequence[Mapping[str, Any]] = (),
        max_tokens: int | None = None,
    ) -> AsyncIterator[ChatEvent]:
        """The answer as it is made; `tools` as in /v1/chat/completions. Raises ModelFailure."""

    async def prime(self, call: str, messages: Sequence[ChatMessage]) -> None:
        """Work ahead on messages that a `stream` will begin with; a model may do nothing."""


class TextToSpeech(Protocol):
    """Speaks."""

    def speak(self, call: str, text: str, voice: str = "") -> AsyncIterator[bytes]:
        """The sound of `text`, in pieces of any length. Raises ModelFailure."""


class VoiceMeter(Protocol):
    """Follows the voice of one call."""

    def probability(self, window: bytes) -> float:
        """How likely it is (0–1) that somebody speaks in the next WINDOW_SAMPLES of sound."""


class VoiceActivity(Protocol):
    """Tells voice from other sound."""

    def meter(self) -> VoiceMeter:
        """For a new call."""


class EndOfTurn(Protocol):
    """Tells the end of a turn from a pause."""

    async def probability(self, call: str, pcm: bytes) -> float:
        """How likely it is (0–1) that the turn, `pcm` so far, is complete. Raises ModelFailure."""


@dataclass(frozen=True)
class Models:
    """One of each; `end` None leaves it to the words and the length of the pause."""

    voice: VoiceActivity
    hear: SpeechToText
    think: ChatModel
    speak: TextToSpeech
    end: EndOfTurn | None = None
