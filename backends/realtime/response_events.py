"""The events of a response, from `response.created` to the last sound of it.

    response.created
    ├ response.output_item.added, conversation.item.added
    │   ├ response.content_part.added
    │   │   ├ response.output_audio_transcript.delta …    (or response.output_text.delta …)
    │   │   ├ response.output_audio.done
    │   │   └ response.output_audio_transcript.done
    │   ├ response.content_part.done
    │   └ (a call instead: response.function_call_arguments.delta …, .done)
    ├ conversation.item.done, response.output_item.done
    └ response.done

`output_audio_buffer.started` comes with the first sound, `stopped` or `cleared` with the last; that
may be long after `response.done`, since models are faster than voices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from backends.realtime.conversation import Conversation, Entry
from backends.realtime.events import ServerEvent, new_id, server_event
from backends.realtime.responses import Output, Reason, Response
from backends.realtime.speech import Speech
from backends.realtime.usage import Usage

Ending = Literal["completed", "cancelled", "incomplete", "failed"]


class ResponseEvents:
    """What an agent does for one response after another; what comes too late says nothing."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.conversation_id = new_id("conv")
        self.active: Response | None = None
        self._latest: Response | None = None
        self._playing = ""  # id of the response whose sound the caller is hearing
        self._spoke = False

    def message_started(self) -> tuple[str, list[ServerEvent]]:
        """The agent begins to speak (or write, by the response's modality); the item's id.

        Without an active response: "" and nothing.
        """
        if self.active is None:
            return "", []
        spoken = self.active.options.modality == "audio"
        item: dict[str, Any] = _item("message", role="assistant", content=[])
        entry = Entry(item, Speech() if spoken else None)
        events = self._start(entry, "output_audio" if spoken else "output_text")
        output = self.active.open
        assert output is not None  # noqa: S101 - it was just opened
        part = _part(output, "")
        events.append(self._of("response.content_part.added", output, content_index=0, part=part))
        return output.item_id, events

    def message_delta(self, delta: str, start_ms: int | None = None) -> list[ServerEvent]:
        """The next words, spoken from `start_ms` of the item's sound on.

        Without `start_ms` they begin where the sound counted by `audio_queued` ends now.
        """
        output = self._open("output_audio", "output_text")
        if output is None:
            return []
        output.written.append(delta)
        if output.entry.speech is not None:
            output.entry.speech.say(delta, start_ms)
        name = "output_audio_transcript" if output.kind == "output_audio" else "output_text"
        return [self._of(f"response.{name}.delta", output, content_index=0, delta=delta)]

    def audio_queued(self, item_id: str, duration_ms: int) -> None:
        """Sound of an item was made; the caller hears it when what was made before has ended."""
        entry = self._spoken(item_id)
        if entry is not None and entry.speech is not None:
            entry.speech.queued_ms += duration_ms

    def audio_sent(self, item_id: str, duration_ms: int) -> list[ServerEvent]:
        """Sound of an item left for the caller; the first of a response is announced."""
        entry = self._spoken(item_id)
        if entry is None or entry.speech is None:
            return []
        entry.speech.sent_ms += duration_ms
        if self._playing == entry.response_id:
            return []
        events = self.output_stopped()
        self._playing = entry.response_id
        self._spoke = True
        events.append(server_event("output_audio_buffer.started", response_id=self._playing))
        return events

    def function_call_started(
        self, name: str, call_id: str | None = None
    ) -> tuple[str, list[ServerEvent]]:
        """The model begins to call a function; the call's id. Without an active response: ""."""
        if self.active is None:
            return "", []
        call_id = call_id or new_id("call")
        item = _item("function_call", name=name, call_id=call_id, arguments="")
        return call_id, self._start(Entry(item), "function_call")

    def function_call_delta(self, delta: str) -> list[ServerEvent]:
        """More of its arguments."""
        output = self._open("function_call")
        if output is None:
            return []
        output.written.append(delta)
        call_id = output.entry.item["call_id"]
        name = "response.function_call_arguments.delta"
        return [self._of(name, output, call_id=call_id, delta=delta)]

    def output_done(self) -> list[ServerEvent]:
        """The message or call that was begun last is complete."""
        return self._close("completed")

    def response_done(
        self,
        status: Ending = "completed",
        usage: Usage | None = None,
        *,
        reason: Reason | None = None,
        error: tuple[str, str] | None = None,
    ) -> list[ServerEvent]:
        """The response is over; `error` is code and message of a failed one."""
        response = self.active
        if response is None:
            return []
        events = self._close("completed" if status == "completed" else "incomplete")
        self.active = None
        details = _details(status, reason, error)
        shown = response.shown(status, details, usage or Usage())
        return [*events, server_event("response.done", response=shown)]

    def output_stopped(self) -> list[ServerEvent]:
        """The caller has heard the last of the sound."""
        return self._end_of_sound("output_audio_buffer.stopped")

    def output_cleared(self, heard_ms: Mapping[str, int]) -> list[ServerEvent]:
        """The sound was cut off; `heard_ms` says of each item cut how much was heard.

        The items lose what was not heard, and the client is told as if it had asked for it.
        """
        events = self._end_of_sound("output_audio_buffer.cleared")
        for item_id, end_ms in heard_ms.items():
            entry = self._spoken(item_id)
            if entry is not None and entry.speech is not None:
                events.append(self.truncated(entry, end_ms))
        return events

    # Parts of the above.

    def _created(self, response: Response) -> list[ServerEvent]:
        self.active = self._latest = response
        return [server_event("response.created", response=response.shown("in_progress"))]

    def _start(self, entry: Entry, kind: Any) -> list[ServerEvent]:
        events = self._close("completed")
        response = self.active
        assert response is not None  # noqa: S101 - asked by the callers
        output = Output(entry, len(response.outputs), kind)
        response.outputs.append(output)
        response.open = output
        entry.response_id = response.id
        # What is open will be changed; what was shown must not.
        shown = _copy(entry.item)
        name = "response.output_item.added"
        events.append(self._of(name, output, with_item_id=False, item=shown))
        if response.options.in_conversation:
            events += self._added(entry)
        return events

    def _close(self, status: Literal["completed", "incomplete"]) -> list[ServerEvent]:
        output = self.active.open if self.active else None
        if self.active is None or output is None:
            return []
        self.active.open = None
        events = self._content_done(output)
        output.entry.item["status"] = status
        self.conversation.changed(output.entry)
        item = _copy(output.entry.item)
        if self.active.options.in_conversation:
            previous = self._previous(output.item_id)
            events.append(
                server_event("conversation.item.done", previous_item_id=previous, item=item)
            )
        name = "response.output_item.done"
        events.append(self._of(name, output, with_item_id=False, item=item))
        return events

    def _content_done(self, output: Output) -> list[ServerEvent]:
        item, text = output.entry.item, output.text
        if output.kind == "function_call":
            item["arguments"] = text
            name, call_id = item["name"], item["call_id"]
            done = "response.function_call_arguments.done"
            return [self._of(done, output, call_id=call_id, name=name, arguments=text)]
        item["content"] = [content_of(output)]
        events: list[ServerEvent] = []
        content: dict[str, Any]
        if output.kind == "output_audio":
            events.append(self._of("response.output_audio.done", output, content_index=0))
            name, content = "response.output_audio_transcript.done", {"transcript": text}
        else:
            name, content = "response.output_text.done", {"text": text}
        events.append(self._of(name, output, content_index=0, **content))
        part = _part(output, text)
        events.append(self._of("response.content_part.done", output, content_index=0, part=part))
        return events

    def _open(self, *kinds: str) -> Output | None:
        output = self.active.open if self.active else None
        return output if output is not None and output.kind in kinds else None

    def _of(
        self, event: str, output: Output, /, *, with_item_id: bool = True, **members: Any
    ) -> ServerEvent:
        assert self.active is not None  # noqa: S101 - asked by the callers
        if with_item_id:
            members["item_id"] = output.item_id
        members["response_id"] = self.active.id
        return server_event(event, output_index=output.index, **members)

    def _added(self, entry: Entry, previous_item_id: str | None = None) -> list[ServerEvent]:
        previous = self.conversation.add(entry, previous_item_id)
        shown = _copy(entry.item)
        added = server_event("conversation.item.added", previous_item_id=previous, item=shown)
        gone = self.conversation.overflow(keep=entry.item["id"])
        return [
            added,
            *(server_event("conversation.item.deleted", item_id=item_id) for item_id in gone),
        ]

    def _previous(self, item_id: str) -> str | None:
        ids = [item["id"] for item in self.conversation.items]
        place = ids.index(item_id) if item_id in ids else 0
        return ids[place - 1] if place else None

    def truncated(self, entry: Entry, end_ms: int) -> ServerEvent:
        """Of an item that was said aloud only what came before `end_ms` was heard."""
        assert entry.speech is not None  # noqa: S101 - asked by the callers
        end_ms = min(end_ms, entry.speech.sent_ms)
        text = entry.speech.cut(end_ms)
        entry.item["content"] = [{"type": "output_audio", "transcript": text}]
        self.conversation.changed(entry)
        return server_event(
            "conversation.item.truncated",
            item_id=entry.item["id"],
            content_index=0,
            audio_end_ms=end_ms,
        )

    def _end_of_sound(self, name: str) -> list[ServerEvent]:
        response_id, self._playing = self._playing, ""
        return [server_event(name, response_id=response_id)] if response_id else []

    def _spoken(self, item_id: str) -> Entry | None:
        """An item of the latest response or, which outlives it, of the conversation."""
        outputs = self._latest.outputs if self._latest else []
        found = (output.entry for output in outputs if output.item_id == item_id)
        return next(found, None) or self.conversation.get(item_id)


def _item(kind: str, **members: Any) -> dict[str, Any]:
    return {
        "id": new_id("item"),
        "object": "realtime.item",
        "type": kind,
        "status": "in_progress",
        **members,
    }


def _copy(item: dict[str, Any]) -> dict[str, Any]:
    content = item.get("content")
    return dict(item) if content is None else {**item, "content": [dict(part) for part in content]}


def content_of(output: Output) -> dict[str, Any]:
    """What stays in the conversation: of speech, what was not cut off."""
    speech = output.entry.speech
    if speech is not None:
        return {"type": "output_audio", "transcript": speech.text}
    return {"type": "output_text", "text": output.text}


def _part(output: Output, text: str) -> dict[str, Any]:
    """A part as `response.content_part.*` calls it, which is not how items do."""
    if output.kind == "output_audio":
        return {"type": "audio", "transcript": text}
    return {"type": "text", "text": text}


def _details(
    status: Ending, reason: Reason | None, error: tuple[str, str] | None
) -> dict[str, Any] | None:
    if status == "completed":
        return None
    details: dict[str, Any] = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if error is not None:
        details["error"] = {"type": "server_error", "code": error[0], "message": error[1]}
    return details
