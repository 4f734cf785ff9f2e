"""What the other commands print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.calls.figures import clock, cut, day_and_time, lasted, ms, plain, share
from cli.tables import table

Json = Mapping[str, Any]


def list_view(calls: Sequence[Json]) -> Table:
    """A page of calls. Ids are never cut: they are what one copies."""
    made = table(
        "Calls", "call", "began (UTC)", "#lasted", "end", "key", "model", "prompt", "#turns",
        "#p95 ms", "#lost",
    )  # fmt: skip
    made.columns[0].no_wrap = True
    for one in calls:
        version = f"@{one['prompt_version']}" if one["prompt_version"] else ""
        sent = one["packets_from_caller"] + one["lost_from_caller"]
        made.add_row(
            escape(one["call_id"]), day_and_time(one["first_us"]), lasted(one["lasted_s"]),
            one["end_reason"] or one["state"], escape(one["key_id"] or ""),
            escape(one["model"] or ""), escape(f"{one['prompt_id'] or ''}{version}"),
            str(one["turns"] or 0), ms(one["v2v_p95_ms"]),
            share(one["lost_from_caller"] / sent if sent else None),
        )  # fmt: skip
    return made


def event_line(event: Json) -> Text:
    """One event on one line; what was said is in quotation marks."""
    said = f'  "{cut(event["content"], 200)}"' if event["content"] else ""
    body = {name: one for name, one in event["body"].items() if name not in ("packets",)}
    return Text.assemble(
        (clock(event["wall_us"]), "dim"),
        f"  {event['source']} #{event['number']}  ",
        (event["kind"], "bold"),
        f"  {plain(body)}{said}",
    )


def diff_view(left: Json, right: Json) -> Table:
    """Two calls side by side; what is the same in both is dim."""
    made = table("", "", "A", "B")
    for name, one, other in _compared(left, right):
        style = "dim" if one == other else ""
        made.add_row(*(Text(cell, style=style) for cell in (name, one, other)))
    return made


def _compared(left: Json, right: Json) -> Iterator[tuple[str, str, str]]:
    for name, of in _ROWS.items():
        yield name, of(left), of(right)
    turns = [{one["turn"]: one for one in told["story"]["turns"]} for told in (left, right)]
    for number in sorted({*turns[0], *turns[1]}):
        one, other = (_turn(found.get(number)) for found in turns)
        yield f"turn {number}, ms", one, other


def _turn(turn: Json | None) -> str:
    if turn is None:
        return ""
    cut_off = " interrupted" if turn["interrupted"] else ""
    return (
        f"{ms(turn['voice_to_voice_ms'])}{cut_off}{' ' + turn['failed'] if turn['failed'] else ''}"
    )


def _of_media(place: int, name: str) -> Any:
    show = share if name.endswith("share") else ms
    return lambda told: show(told["story"]["media"][place][name])


_ROWS: dict[str, Any] = {
    "call": lambda told: told["call"]["call_id"],
    "began (UTC)": lambda told: day_and_time(told["story"]["began_us"]),
    "lasted": lambda told: lasted(told["story"]["lasted_s"]),
    "end": lambda told: told["story"]["ending"]["words"],
    "diagnosis": lambda told: told["story"]["diagnosis"]["title"],
    "build": lambda told: told["story"]["head"]["build"],
    "backend": lambda told: told["story"]["head"]["backend"],
    "model": lambda told: told["story"]["head"]["model"],
    "prompt": lambda told: (
        f"{told['story']['head']['prompt_id']}@{told['story']['head']['prompt_version']}"
    ),
    "instructions": lambda told: told["story"]["head"]["instructions_sha256"][:12],
    "turns": lambda told: str(told["call"]["turns"] or 0),
    "interrupted": lambda told: str(told["call"]["turns_interrupted"] or 0),
    "answer p50, ms": lambda told: ms(told["call"]["v2v_p50_ms"]),
    "answer p95, ms": lambda told: ms(told["call"]["v2v_p95_ms"]),
    "lost in": _of_media(0, "lost_share"),
    "lost out": _of_media(1, "lost_share"),
    "jitter in, ms": _of_media(0, "jitter_ms"),
    "round trip, ms": _of_media(1, "round_trip_ms"),
    "tokens in": lambda told: f"{told['call']['input_tokens']:,}",
    "tokens out": lambda told: f"{told['call']['output_tokens']:,}",
    "tools failed": lambda told: str(told["call"]["tools_failed"]),
}


def verify_view(told: Json) -> Table:
    """The chains of a call."""
    made = table("Chains", "source", "#events", "#numbers", "#holes", "#missing", "broken at")
    for one in told["chains"]:
        numbers = f"{one['first_number']} to {one['last_number']}"
        broken = "" if one["broken_at"] is None else f"#{one['broken_at']}"
        figures = (str(one[name]) for name in ("holes", "missing"))
        made.add_row(escape(one["source"]), str(one["events"]), numbers, *figures, broken)
    return made
