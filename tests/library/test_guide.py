"""The guide to `Call` says what the library does: names, bounds, defaults."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

from transceiver.call.voice import SEND_CREDIT
from trunkline.backend import Audio, Backend, Binary, Call, Network, Playout, Settings, Text
from trunkline.backend.call import MAX_DATA_BYTES
from trunkline.backend.inbox import MAX_FRAMES, MAX_MESSAGE_BYTES, MAX_MESSAGES
from trunkline.backend.outbox import Outbox
from trunkline.v1 import model_pb2

GUIDE = (Path(__file__).resolve().parents[2] / "docs/backends.md").read_text()
# For the stream that carries the call, and by another name.
NOT_FOR_HANDLERS = {
    *("hear", "end", "hold", "resume", "next_event", "number", "call_id", "events"),
    *("resume_token", "heard_events"),
}
STARTED = model_pb2.CallStarted(call_id="c", format=1)  # type: ignore[arg-type]


def section(heading: str) -> str:
    return GUIDE.split(f"## {heading}\n")[1].split("\n## ")[0]


def documented(heading: str) -> set[str]:
    """Names in the first column of the section's tables."""
    cells = re.findall(r"^\| (`.+?) \|", section(heading), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(?:await )?(\w+)", cell)}


async def test_every_attribute_and_method_of_a_call() -> None:
    """What a handler may use is in one of the two tables, and nothing else is."""
    call = Call(1, STARTED, Outbox(), lambda _: None)
    public = {name for name in dir(call) if not name.startswith("_")} - NOT_FOR_HANDLERS
    methods = {name for name in public if inspect.ismethod(getattr(call, name))}
    assert documented("What you can do") == methods
    assert documented("What a handler holds") == public - methods


def test_every_field_of_an_event() -> None:
    """Each is named in its row, and of the network below the table."""
    text = section("What happens on a call")
    for event in (Audio, Text, Binary, Playout, Network):
        for field in fields(event):
            assert f"`{field.name}`" in text, field.name
    assert documented("What happens on a call") == {"Audio", "Text", "Binary", "Playout"}


def test_every_field_of_a_backend() -> None:
    """All but the handler, which is what the guide is about."""
    named = documented("A backend with more to say")
    assert named == {field.name for field in fields(Backend)} - {"handler"}


def test_every_variable() -> None:
    """With its default."""
    rows = re.findall(r"^\| `(TRUNKLINE_\w+)` \| `(.+?)` \|", section("Run it"), re.MULTILINE)
    default = Settings()
    assert dict(rows) == {
        "TRUNKLINE_BACKEND_LISTEN": str(default.listen),
        "TRUNKLINE_BACKEND_DRAIN_S": str(default.drain_s),
        "TRUNKLINE_BACKEND_HOLD_MS": str(default.hold_ms),
        "TRUNKLINE_LOG_LEVEL": default.log_level,
    }


def test_bounds() -> None:
    """The numbers are those of the code."""
    assert f"{MAX_FRAMES} frames (5 s)" in GUIDE
    assert (MAX_MESSAGES, MAX_MESSAGE_BYTES) == (1_000, 2**20)
    assert "1,000 or 1 MiB" in GUIDE
    assert f"at most {MAX_DATA_BYTES // 1024} KiB" in GUIDE
    assert f"When {SEND_CREDIT} frames wait there" in " ".join(GUIDE.split())
