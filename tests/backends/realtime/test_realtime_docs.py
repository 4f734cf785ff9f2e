"""The page about the Realtime API says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from backends.realtime.client_events import _MODELS
from transceiver.signaling.client_secrets import SECRETS_PATH
from transceiver.signaling.realtime_calls import CALLS_PATH
from transceiver.signaling.sideband import SIDEBAND_PATH

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/realtime.md").read_text()
CODE = "\n".join(path.read_text() for path in (ROOT / "backends/realtime").glob("*.py"))


def _first_cells(heading: str) -> list[str]:
    """The words in backticks that begin the rows under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)


def test_all_client_events_stand_in_the_table() -> None:
    """Each once, in the order of the code."""
    assert sorted(_first_cells("Client events")) == sorted(_MODELS)


def test_all_server_events_stand_in_the_table() -> None:
    """What the code can say is listed, and what is listed the code can say."""
    listed = set(_first_cells("Server events"))
    sent = set(re.findall(r'"((?:[a-z_]+\.)+[a-z_]+|error)"', CODE)) - set(_MODELS)
    made = {f"response.{name}.delta" for name in ("output_audio_transcript", "output_text")}
    assert listed == (sent & _events(sent)) | made


def _events(names: set[str]) -> set[str]:
    heads = (
        "session.created",
        "session.updated",
        "input_audio_buffer.",
        "conversation.item.",
        "response.",
        "rate_limits.",
    )
    return {name for name in names if name.startswith((*heads, "output_audio_buffer."))} | {"error"}


def test_all_codes_stand_in_the_table() -> None:
    """Every code of a refusal has a row, and no row is about nothing."""
    codes = set(re.findall(r'Refusal\(\s*"([a-z_]+)"', CODE))
    made = {f"item_{doing}_invalid_item_id" for doing in re.findall(r'find\([^"]+"([a-z]+)"', CODE)}
    assert set(_first_cells("Errors")) == codes | made


def test_all_paths_stand_in_the_table() -> None:
    """The four of the realtime API."""
    listed = _first_cells("HTTP")
    assert listed == [
        f"POST {SECRETS_PATH}",
        f"POST {CALLS_PATH}",
        f"POST {CALLS_PATH}/{{id}}/hangup",
        f"GET {SIDEBAND_PATH}?call_id={{id}}",
    ]
