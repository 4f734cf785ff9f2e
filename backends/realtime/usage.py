"""What a response cost, as `response.done` reports it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InputTokens:
    """What the model read; `cached` of `text` were not read anew."""

    text: int = 0
    audio: int = 0
    cached: int = 0

    def shown(self) -> dict[str, Any]:
        """`input_token_details`."""
        return {
            "text_tokens": self.text,
            "audio_tokens": self.audio,
            "image_tokens": 0,
            "cached_tokens": self.cached,
            "cached_tokens_details": {
                "text_tokens": self.cached,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        }


@dataclass(frozen=True)
class OutputTokens:
    """What the model wrote."""

    text: int = 0
    audio: int = 0

    def shown(self) -> dict[str, Any]:
        """`output_token_details`."""
        return {"text_tokens": self.text, "audio_tokens": self.audio}


@dataclass(frozen=True)
class Usage:
    """Tokens read and written for one response."""

    input: InputTokens = field(default_factory=InputTokens)
    output: OutputTokens = field(default_factory=OutputTokens)

    def shown(self) -> dict[str, Any]:
        """`usage`."""
        input_tokens = self.input.text + self.input.audio
        output_tokens = self.output.text + self.output.audio
        return {
            "total_tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "input_token_details": self.input.shown(),
            "output_token_details": self.output.shown(),
        }
