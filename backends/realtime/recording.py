"""What of a Realtime session is recorded: from server events to what record.proto calls them. Pure.

    conversation.item.done, …transcription.completed, …truncated   → Item, and Tool of a function
    response.done                                                  → UsageReport, ModelFault
    trunkline.turn, trunkline.turn_network                         → Turn
    session.created, session.updated                               → SessionSet
    error of a model                                               → ModelFault

It hears what the client is told, so it is the same for every agent and every upstream.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from backends.realtime import recorded_turn, recorded_usage
from fleet.record.lineage import lineage_of
from trunkline.v1 import record_pb2 as pb

MAX_REMEMBERED = 128  # items and tools that may be told more of
_ROLES = {"user": pb.ROLE_USER, "assistant": pb.ROLE_ASSISTANT, "system": pb.ROLE_SYSTEM}
_TIMED_OUT = "did not answer in time"  # as `backends.agent.tools` tells the model

Event = Mapping[str, Any]


class Recording:
    """Of one call. `now` gives seconds, for how long tools take."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._items: OrderedDict[str, pb.Item] = OrderedDict()
        self._tools: OrderedDict[str, tuple[pb.Tool, float]] = OrderedDict()
        self._turn: dict[str, Any] = {}  # the newest, as it was told
        self._handlers: dict[str, Callable[[Event], Iterator[pb.Recorded]]] = {
            "conversation.item.done": self._item_done,
            "conversation.item.input_audio_transcription.completed": self._transcribed,
            "conversation.item.truncated": self._truncated,
            "response.done": self._response_done,
            "trunkline.turn": self._turn_told,
            "trunkline.turn_network": self._turn_network,
            "session.created": self._session,
            "session.updated": self._session,
            "error": self._error,
        }

    def hear(self, event: Event) -> list[pb.Recorded]:
        """What is to be recorded of an event; nothing of one that is odd, or of no interest."""
        try:
            handler = self._handlers.get(str(event.get("type")))
            return list(handler(event)) if handler else []
        except (AttributeError, KeyError, TypeError, ValueError):  # an upstream may say anything
            return []

    def _item_done(self, event: Event) -> Iterator[pb.Recorded]:
        item = event["item"]
        kind, text = str(item["type"]), _text(item)
        told = pb.Item(
            item_id=item["id"],
            role=pb.ROLE_TOOL if kind.startswith("function_call") else _ROLES[item["role"]],
            type=kind,
            response_id=str(event.get("response_id") or ""),
            final=True,
            audio=_is_spoken(item),
            tool_name=str(item.get("name") or ""),
            tool_call_id=str(item.get("call_id") or ""),
        )
        self._remember(told)
        if text or kind != "message":  # of what was heard the transcript is still to come
            yield pb.Recorded(item=told, content=text)
        if kind == "function_call":
            yield from self._tool_started(told, text)
        elif kind == "function_call_output":
            yield from self._tool_ended(told, text)

    def _tool_started(self, item: pb.Item, arguments: str) -> Iterator[pb.Recorded]:
        tool = pb.Tool(
            name=item.tool_name,
            tool_call_id=item.tool_call_id,
            turn=int(self._turn.get("turn", 0)),
            arguments_sha256=hashlib.sha256(arguments.encode()).digest(),
            outcome=pb.TOOL_OUTCOME_STARTED,
        )
        self._tools[item.tool_call_id] = tool, self._now()
        while len(self._tools) > MAX_REMEMBERED:
            self._tools.popitem(last=False)
        yield pb.Recorded(tool=tool)

    def _tool_ended(self, item: pb.Item, output: str) -> Iterator[pb.Recorded]:
        started, began_s = self._tools.pop(item.tool_call_id, (pb.Tool(), self._now()))
        tool = pb.Tool()
        tool.CopyFrom(started)
        tool.tool_call_id = item.tool_call_id
        tool.duration_ms = (self._now() - began_s) * 1000
        tool.outcome = _outcome(output)
        yield pb.Recorded(tool=tool)

    def _transcribed(self, event: Event) -> Iterator[pb.Recorded]:
        item = self._known(event["item_id"])
        item.role, item.type = pb.ROLE_USER, "message"
        item.final = item.audio = True
        yield pb.Recorded(item=item, content=str(event["transcript"]))
        seconds = _object(event.get("usage")).get("seconds")
        if isinstance(seconds, int | float) and seconds > 0:
            amount = pb.Amount(kind=pb.USAGE_KIND_HEARD_SECONDS, amount=seconds)
            yield pb.Recorded(usage=pb.UsageReport(amounts=[amount]))

    def _truncated(self, event: Event) -> Iterator[pb.Recorded]:
        item = self._known(event["item_id"])
        item.truncated, item.final = True, True
        item.heard_ms = event["audio_end_ms"]
        yield pb.Recorded(item=item)

    def _response_done(self, event: Event) -> Iterator[pb.Recorded]:
        response = event["response"]
        usage = recorded_usage.report(response)
        if usage.amounts:
            yield pb.Recorded(usage=usage)
        error = _object(_object(response.get("status_details")).get("error"))
        if response.get("status") == "failed":
            yield pb.Recorded(model_fault=_fault(str(error.get("code") or "failed")))

    def _turn_told(self, event: Event) -> Iterator[pb.Recorded]:
        self._turn = dict(event)
        yield pb.Recorded(turn=recorded_turn.turn(self._turn))

    def _turn_network(self, event: Event) -> Iterator[pb.Recorded]:
        if event["turn"] == self._turn.get("turn"):
            self._turn["network"] = event["network"]
            yield pb.Recorded(turn=recorded_turn.turn(self._turn))

    def _session(self, event: Event) -> Iterator[pb.Recorded]:
        yield pb.Recorded(session=lineage_of(event["session"]))

    def _error(self, event: Event) -> Iterator[pb.Recorded]:
        error = event["error"]
        if error.get("type") == "server_error":
            yield pb.Recorded(model_fault=_fault(str(error.get("code") or "failed")))

    def _known(self, item_id: str) -> pb.Item:
        """A copy of what was told of an item, to tell more."""
        item = self._items.get(item_id)
        if item is None:
            item = pb.Item(item_id=item_id, role=pb.ROLE_ASSISTANT, type="message", audio=True)
        self._remember(item)
        return item

    def _remember(self, item: pb.Item) -> None:
        self._items[item.item_id] = item
        while len(self._items) > MAX_REMEMBERED:
            self._items.popitem(last=False)


def _text(item: Mapping[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item.get("arguments") or "")
    if item["type"] == "function_call_output":
        return str(item.get("output") or "")
    parts = item.get("content") or ()
    texts = (part.get("text") or part.get("transcript") or "" for part in parts)
    return " ".join(text for text in texts if text)


def _is_spoken(item: Mapping[str, Any]) -> bool:
    return any("audio" in str(part.get("type")) for part in item.get("content") or ())


def _outcome(output: str) -> pb.ToolOutcome.ValueType:
    if not output.startswith('{"error"'):
        return pb.TOOL_OUTCOME_OK
    return pb.TOOL_OUTCOME_TIMED_OUT if _TIMED_OUT in output else pb.TOOL_OUTCOME_FAILED


def _fault(code: str) -> pb.ModelFault:
    """`llm_timeout` is the stage `llm` and the kind `timeout`."""
    stage, _, kind = code.partition("_")
    return pb.ModelFault(stage=stage if kind else "", kind=kind or code)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
