"""What new events tell of their calls, as values for the columns of `calls`. Pure.

Recorded, Recorded, … ─▶ CallNews (one a call) ─▶ upsert (`columns`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from records.store.columns import CALLS, How
from records.store.rows import Recorded, Word, plain
from trunkline.v1 import record_pb2 as pb

_TOLD = {name: 0 if how is How.SUM else None for name, (_, how) in CALLS.items()}
_CACHED = (pb.USAGE_KIND_TEXT_CACHED_TOKENS, pb.USAGE_KIND_AUDIO_CACHED_TOKENS)
_INPUT = frozenset(
    (
        *(pb.USAGE_KIND_TEXT_INPUT_TOKENS, pb.USAGE_KIND_AUDIO_INPUT_TOKENS),
        *(pb.USAGE_KIND_IMAGE_INPUT_TOKENS, *_CACHED),
    )
)
_OUTPUT = frozenset(
    (
        *(pb.USAGE_KIND_TEXT_OUTPUT_TOKENS, pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS),
        pb.USAGE_KIND_REASONING_TOKENS,
    )
)
_FAILURES = frozenset((pb.TOOL_OUTCOME_FAILED, pb.TOOL_OUTCOME_TIMED_OUT))


class CallNews:
    """What a batch tells of one call; `values` is a row for `columns.upsert`."""

    def __init__(self, call_id: str) -> None:
        self.values: dict[str, Any] = {"call_id": call_id, **_TOLD}

    def hear(self, one: Recorded) -> None:
        """Take one event; of a source they come in order."""
        wall_us = one.event.wall_us
        self.least("first_us", wall_us)
        self.most("last_us", wall_us)
        self.add("events", 1)
        self.add("size_bytes", len(one.body) + len(one.content.encode()))
        fold = _FOLDS.get(one.kind)
        if fold is not None:
            fold(self, getattr(one.event, one.kind), wall_us)

    def add(self, name: str, amount: float) -> None:
        """For a column that is summed."""
        self.values[name] += amount

    def tell(self, **told: Any) -> None:
        """What is not empty; a later one of the batch replaces an earlier one."""
        for name, value in told.items():
            if value not in ("", None):
                self.values[name] = plain(value) if isinstance(value, str) else value

    def least(self, name: str, value: float) -> None:
        """For a column that keeps the smallest."""
        known = self.values[name]
        self.values[name] = value if known is None else min(known, value)

    def most(self, name: str, value: float) -> None:
        """For a column that keeps the largest."""
        known = self.values[name]
        self.values[name] = value if known is None else max(known, value)


def news(events: Iterable[Recorded]) -> list[CallNews]:
    """By call, in the order of call ids: who locks rows in one order does not wait in a ring."""
    by_call: dict[str, CallNews] = {}
    for one in events:
        call_id = one.event.call_id
        told = by_call.get(call_id)
        if told is None:
            told = by_call[call_id] = CallNews(call_id)
        told.hear(one)
    return [by_call[call_id] for call_id in sorted(by_call)]


def _placed(news: CallNews, placed: pb.Placed, wall_us: int) -> None:
    news.least("placed_us", wall_us)
    news.tell(
        tenant=placed.tenant,
        key_id=placed.key_id,
        secret_id=placed.secret_id,
        surface=placed.surface,
        cluster=placed.cluster,
        region=placed.region,
        node=placed.node,
        build=placed.build,
        voice_format=placed.voice_format,
        backend=placed.backend,
        model=placed.model,
    )


def _ended(news: CallNews, ended: pb.Ended, wall_us: int) -> None:
    news.most("ended_us", wall_us)
    news.most("lasted_s", ended.lasted_s)
    reason, cause = Word.END_REASON.of(ended.reason), Word.CAUSE.of(ended.cause)
    news.tell(end_reason=reason, end_cause=cause)


def _media(news: CallNews, media: pb.Media, _wall_us: int) -> None:
    way = "from_caller" if media.direction == pb.DIRECTION_FROM_CALLER else "to_caller"
    news.add(f"packets_{way}", media.packets)
    news.add(f"lost_{way}", media.lost)
    news.add("concealed_ms", media.concealed_ms)


def _gap(news: CallNews, gap: pb.Gap, _wall_us: int) -> None:
    news.add("gaps", int(gap.over))
    news.most("longest_gap_ms", gap.length_ms)


def _path(news: CallNews, path: pb.PathChanged, _wall_us: int) -> None:
    news.add("paths", 1)
    news.tell(network=path.to_network)


def _moved(news: CallNews, moved: pb.Moved, _wall_us: int) -> None:
    if moved.kind != pb.MOVE_KIND_LEFT:  # the other side tells of the same move
        news.add("moves", 1)
        news.tell(node=moved.to_node)


def _session(news: CallNews, session: pb.SessionSet, _wall_us: int) -> None:
    news.tell(
        model=session.model,
        voice=session.voice,
        prompt_id=session.prompt_id,
        prompt_version=session.prompt_version,
        instructions_sha256=session.instructions_sha256,
        tools_sha256=session.tools_sha256,
        settings_sha256=session.settings_sha256,
        backend_build=session.backend_build,
    )


def _usage(news: CallNews, usage: pb.UsageReport, _wall_us: int) -> None:
    for each in usage.amounts:
        if each.kind in _INPUT:
            news.add("input_tokens", round(each.amount))
        elif each.kind in _OUTPUT:
            news.add("output_tokens", round(each.amount))
    news.add("price", usage.price)
    news.tell(model=usage.model)


def _tool(news: CallNews, tool: pb.Tool, _wall_us: int) -> None:
    news.add("tools", int(tool.outcome != pb.TOOL_OUTCOME_STARTED))
    news.add("tools_failed", int(tool.outcome in _FAILURES))


def _consent(news: CallNews, consent: pb.Consent, _wall_us: int) -> None:
    if consent.to == pb.CONSENT_TO_RECORDING:
        news.tell(recording_consent=consent.given)


def _resources(news: CallNews, used: pb.Resources, _wall_us: int) -> None:
    news.add("cpu_s", used.cpu_s)
    news.add("bytes_from_caller", used.bytes_from_caller)
    news.add("bytes_to_caller", used.bytes_to_caller)


def _counted(name: str) -> Callable[[CallNews, Any, int], None]:
    return lambda news, _body, _wall_us: news.add(name, 1)


_FOLDS: dict[str, Callable[[CallNews, Any, int], None]] = {
    "placed": _placed,
    "answered": lambda news, _body, wall_us: news.least("answered_us", wall_us),
    "connected": lambda news, _body, wall_us: news.least("connected_us", wall_us),
    "ended": _ended,
    "media": _media,
    "gap": _gap,
    "ice": lambda news, ice, _wall_us: news.tell(network=ice.network),
    "path": _path,
    "moved": _moved,
    "backend": lambda news, step, _wall_us: news.tell(backend=step.backend),
    "session": _session,
    "usage": _usage,
    "tool": _tool,
    "consent": _consent,
    "resources": _resources,
    "hole": lambda news, hole, _wall_us: news.add("holes", hole.last - hole.first + 1),
    "fault": _counted("faults"),
    "model_fault": _counted("model_faults"),
    "operator": _counted("operator_acts"),
}
