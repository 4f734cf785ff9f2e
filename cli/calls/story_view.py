"""`trunkline calls show`: one call in one screen, the diagnosis first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli.calls.figures import NONE, clock, cut, day_and_time, lasted, ms, share
from cli.tables import table

Json = Mapping[str, Any]

SHOWN_TURNS = 12  # the last ones; a screen has no room for more
SHOWN_EVIDENCE = 4
_GOOD = "nothing_wrong"


def story_view(told: Json) -> RenderableType:
    """A call as `GET /v1/calls/{id}` answers."""
    call, story = told["call"], told["story"]
    parts: list[RenderableType] = [_title(story), *_diagnosis(story["diagnosis"]), ""]
    parts += [_head(call, story), "", _media(story["media"])]
    if story["turns"]:
        parts += ["", _turns(story["turns"], story["began_us"])]
    return Group(*parts)


def _title(story: Json) -> Text:
    began = f"{day_and_time(story['began_us'])} UTC, {lasted(story['lasted_s'])}"
    return Text.assemble(
        (story["call_id"], "bold"), f"  {story['state']}  {began}  {story['ending']['words']}"
    )


def _diagnosis(found: Json) -> Iterator[Text]:
    style = "green" if found["cause"] == _GOOD else "bold red"
    yield Text.assemble((f"{found['title']}. ", style), found["sentence"])
    for one in found["evidence"][:SHOWN_EVIDENCE]:
        yield Text(f"  {clock(one['wall_us'])}  {one['source']} #{one['number']}  {one['words']}")
    more = len(found["evidence"]) - SHOWN_EVIDENCE
    if more > 0:
        yield Text(f"  and {more} more")
    for name, words in (("also", "also: "), ("follows", "it follows: ")):
        if found[name]:
            yield Text("  " + words + "; ".join(one["title"].lower() for one in found[name]))


def _head(call: Json, story: Json) -> Table:
    head = story["head"]
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in _rows(call, story, head):
        made.add_row(name, escape(value))
    return made


def _rows(call: Json, story: Json, head: Json) -> Iterator[tuple[str, str]]:
    yield "whose", _joined(head["tenant"], head["key_id"], head["secret_id"])
    yield "where", _joined(head["region"], _nodes(story), head["network"])
    yield "model", _joined(head["model"], head["voice"], head["backend"], head["backend_build"])
    version = f"@{head['prompt_version']}" if head["prompt_version"] else ""
    digest = head["instructions_sha256"][:12]
    yield "prompt", _joined(f"{head['prompt_id']}{version}", digest and f"sha256 {digest}…")
    yield "set up", _setup(head["setup"])
    yield (
        "consent",
        {None: "not asked", True: "to recording", False: "withdrawn"}[head["recording_consent"]],
    )
    yield "used", _used(call, story)
    holes = f", {call['holes']} missing" if call["holes"] else ""
    erased = f", erased {day_and_time(call['erased_us'])}" if call["erased_us"] else ""
    yield "record", f"{story['events']} events{holes}{erased}"


def _nodes(story: Json) -> str:
    if not story["head"]["nodes"]:
        return ""
    path = " → ".join(map(str, story["head"]["nodes"]))
    moves = [f"{one['kind']}, gap {ms(one['gap_ms'] or None)} ms" for one in story["moves"]]
    return f"node {path}" + (f" ({'; '.join(moves)})" if moves else "")


def _setup(setup: Json) -> str:
    steps = {
        "answered": setup["answered_ms"],
        "first check": setup["first_check_ms"],
        "DTLS": setup["dtls_connected_ms"],
        "connected": setup["connected_ms"],
    }
    return ", ".join(f"{name} {ms(at)}" for name, at in steps.items()) + " ms"


def _used(call: Json, story: Json) -> str:
    amounts = [
        f"{kind.replace('_', ' ')} {amount:,.0f}"
        for usage in story["usage"]
        for kind, amount in usage["amounts"].items()
    ]
    price = f"price {call['price']:.4g}" if call["price"] else ""
    return _joined(*amounts, price)


def _media(lines: Sequence[Json]) -> Table:
    made = table(
        "Media", "", "#packets", "#lost", "#worst", "#late", "#concealed", "#jitter", "#round trip",
        "#silence", "#level", "#gaps", "#longest",
    )  # fmt: skip
    for one in lines:
        made.add_row(
            one["direction"].replace("_", " "), f"{one['packets']:,}", share(one["lost_share"]),
            share(one["worst_lost_share"]), str(one["late"]), ms(one["concealed_ms"]),
            ms(one["jitter_ms"]), ms(one["round_trip_ms"]), ms(one["longest_silence_ms"]),
            ms(one["level_dbov"]), str(one["gaps"]), ms(one["longest_gap_ms"]),
        )  # fmt: skip
    return made


def _turns(turns: Sequence[Json], began_us: int) -> Table:
    left = len(turns) - SHOWN_TURNS
    title = "Turns, in ms after the caller's last sound"
    made = table(
        title + (f" (the last {SHOWN_TURNS} of {len(turns)})" if left > 0 else ""),
        "turn", "#at", "#ended", "#heard", "#words", "#tool", "#sound", "#out", "#other", "how",
        "said",
    )  # fmt: skip
    for one in turns[-SHOWN_TURNS:]:
        stages = one["stages"]
        made.add_row(
            str(one["turn"]), lasted((one["began_us"] - began_us) / 1e6),
            *(ms(stages.get(name)) for name in ("ended", "heard", "first_words")), _tool(one),
            ms(stages.get("first_sound")), ms(one["voice_to_voice_ms"]), ms(one["unexplained_ms"]),
            escape(_how(one)), escape(cut(one["said"], 28)),
        )  # fmt: skip
    return made


def _tool(turn: Json) -> str:
    stages = turn["stages"]
    if "tool_started" not in stages:
        return NONE
    ended = stages.get("tool_ended")
    return "hangs" if ended is None else ms(ended - stages["tool_started"])


def _how(turn: Json) -> str:
    if turn["failed"]:
        return cut(turn["failed"], 24)
    cut_off = "interrupted" if turn["interrupted"] else ""
    return cut_off or ("" if turn["final"] else "goes on")


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts)) or NONE
