"""What differs between the Realtime API over WebRTC and over WebSocket. Pure.

Over WebRTC sound is media, and the server knows what was heard. Over WebSocket sound is events, and
the client reports what was heard. So on the way up we obey `output_audio_buffer.clear` ourselves
and choose the formats. On the way down sound becomes media, and a caller who begins to speak
silences it. No such API knows our own events (`trunkline.…`), so they are refused here, as it would
refuse them. Everything else passes as it is.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.realtime import ServerEvent, to_text
from backends.realtime.events import server_event
from backends.realtime.page import ANYBODY, Page
from backends.realtime.refusals import MAX_QUOTED_CHARS, Refusal
from fleet.foreign_json import read_json

OURS = "trunkline."  # how the types of our own events begin
BYTES_PER_MS = 48  # 16-bit mono at 24 kHz, the one PCM of the API
GO_ON = (
    "Your last message was cut off by a technical fault. Go on exactly where it ends. "
    "Do not repeat anything, and do not mention the fault."
)
_PCM = {"type": "audio/pcm", "rate": 24000}
_SOUND = {"response.output_audio.delta", "response.audio.delta"}  # GA, and the beta's name
_END_OF_SOUND = {"response.output_audio.done", "response.audio.done"}


@dataclass(frozen=True)
class ToUpstream:
    """Send this text up."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class ToCaller:
    """Send this text to the caller."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class Sound:
    """Let the caller hear this."""

    item_id: str
    response_id: str
    pcm: bytes = field(repr=False)


@dataclass(frozen=True)
class SoundEnds:
    """All sound of a response's item has come."""

    item_id: str


@dataclass(frozen=True)
class Silence:
    """Stop the voice: the caller speaks, or asked for it."""


Action = ToUpstream | ToCaller | Sound | SoundEnds | Silence


class Translator:
    """Of one call; it remembers whether the caller's voice interrupts.

    `page` is who the caller is: a page's events go up under the operator's key, so what its policy
    does not name does not.
    """

    def __init__(self, page: Page = ANYBODY) -> None:
        self._page = page
        self._interrupts = True

    def opening(self, session_json: str) -> list[Action]:
        """What is sent up first: the caller's session, if it brought one that can be read."""
        given = parsed(session_json) or {}
        session = {"type": "realtime", **given}
        return [_up({"type": "session.update", "session": _session(session)})]

    def from_caller(self, text: str, *, from_server: bool = False) -> list[Action]:
        """An event of the caller, or of its server. Never raises; what is no event, or may not be
        said, is answered here."""
        event = parsed(text)
        if event is None:
            return [_refused(Refusal("invalid_json", "The event is not a JSON object."))]
        if self._page is ANYBODY or from_server:
            return self._up(event, text)
        try:
            checked = self._page.checked(event)
        except Refusal as refusal:
            return [_refused(refusal)]
        return self._up(checked, json.dumps(checked))

    def _up(self, event: dict[str, Any], text: str) -> list[Action]:
        kind = event.get("type")
        if isinstance(kind, str) and kind.startswith(OURS):
            message = f"Invalid value: '{kind[:MAX_QUOTED_CHARS]}'. This backend has no such event."
            refusal = Refusal("invalid_value", message, "type")
            return [_refused(refusal.about(event.get("event_id")))]
        if kind == "output_audio_buffer.clear":
            return [Silence()]
        session = event.get("session")
        if kind == "session.update" and isinstance(session, dict):
            return [_up({**event, "session": _session(session)})]
        return [ToUpstream(text)]

    def from_upstream(self, text: str) -> list[Action]:
        """An event of the server. Never raises; what is no event is passed over."""
        event = parsed(text)
        return [] if event is None else self.from_event(event, text)

    def from_event(self, event: dict[str, Any], text: str) -> list[Action]:
        """The same of an event that was read from that text."""
        kind = str(event.get("type"))
        if kind in _SOUND:
            return _sound(event)
        if kind in _END_OF_SOUND:
            return [ToCaller(text), SoundEnds(str(event.get("item_id", "")))]
        if kind in {"session.created", "session.updated"}:
            self._interrupts = _interrupts(event.get("session"))
            return [_down({"type": kind, **event})]
        if kind == "input_audio_buffer.speech_started" and self._interrupts:
            return [ToCaller(text), Silence()]
        return [ToCaller(text)]


def heard(pcm: bytes) -> str:
    """The caller's sound as an event for upstream."""
    audio = base64.b64encode(pcm).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


def truncated(item_id: str, heard_ms: int) -> str:
    """An event for upstream: of an item only so much was heard."""
    event = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0}
    return json.dumps({**event, "audio_end_ms": heard_ms})


def continued(instructions: str, *, begun: bool) -> str:
    """An event for upstream: answer again, or, if it had `begun`, go on with an answer."""
    event: dict[str, Any] = {"type": "response.create"}
    if begun:
        event["response"] = {"instructions": f"{instructions}\n\n{GO_ON}".strip()}
    return json.dumps(event)


def buffer_event(what: str, response_id: str) -> str:
    """`output_audio_buffer.…`, which only a server that plays sound can say."""
    return to_text(server_event(f"output_audio_buffer.{what}", response_id=response_id))


def _up(event: Mapping[str, Any]) -> ToUpstream:
    return ToUpstream(json.dumps(event))


def _down(event: ServerEvent) -> ToCaller:
    return ToCaller(to_text(event))


def _refused(refusal: Refusal) -> ToCaller:
    return _down(server_event("error", error=refusal.shown()))


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None for anything else."""
    try:
        value = read_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _session(session: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's session with the one format we carry; which backend it wants is no news there."""
    ours = {key: session[key] for key in session if key not in {"trunkline", "model"}}
    audio = _mapping(ours.get("audio"))
    sides = {side: {**_mapping(audio.get(side)), "format": _PCM} for side in ("input", "output")}
    return {**ours, "audio": {**audio, **sides}}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _interrupts(session: object) -> bool:
    detection = _mapping(_mapping(_mapping(session).get("audio")).get("input"))
    turns = detection.get("turn_detection")
    return isinstance(turns, dict) and turns.get("interrupt_response", True) is not False


def _sound(event: Mapping[str, Any]) -> list[Action]:
    try:
        pcm = base64.b64decode(str(event.get("delta", "")), validate=True)
    except (ValueError, binascii.Error):
        return []
    item_id, response_id = str(event.get("item_id", "")), str(event.get("response_id", ""))
    return [Sound(item_id, response_id, pcm[: len(pcm) & ~1])] if pcm else []
