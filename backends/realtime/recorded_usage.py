"""The usage of a response as it is recorded: kinds that do not overlap. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.v1 import record_pb2 as pb


def report(response: Mapping[str, Any]) -> pb.UsageReport:
    """Of `response.done`'s response; without amounts where the model counts nothing."""
    amounts = [pb.Amount(kind=kind, amount=n) for kind, n in _kinds(response) if n > 0]
    return pb.UsageReport(
        response_id=str(response.get("id") or ""),
        model=str(response.get("model") or ""),
        amounts=amounts,
    )


def _kinds(response: Mapping[str, Any]) -> list[tuple[pb.UsageKind.ValueType, int]]:
    usage = _object(response.get("usage"))
    read, written = usage.get("input_token_details"), usage.get("output_token_details")
    cached = _object(_object(read).get("cached_tokens_details"))
    cached_text, cached_audio = _count(cached, "text_tokens"), _count(cached, "audio_tokens")
    return [
        (pb.USAGE_KIND_TEXT_INPUT_TOKENS, _count(read, "text_tokens") - cached_text),
        (pb.USAGE_KIND_AUDIO_INPUT_TOKENS, _count(read, "audio_tokens") - cached_audio),
        (pb.USAGE_KIND_IMAGE_INPUT_TOKENS, _count(read, "image_tokens")),
        (pb.USAGE_KIND_TEXT_CACHED_TOKENS, cached_text),
        (pb.USAGE_KIND_AUDIO_CACHED_TOKENS, cached_audio),
        (pb.USAGE_KIND_TEXT_OUTPUT_TOKENS, _count(written, "text_tokens")),
        (pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS, _count(written, "audio_tokens")),
    ]


def _count(details: object, name: str) -> int:
    value = _object(details).get(name)
    return value if isinstance(value, int) else 0


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
