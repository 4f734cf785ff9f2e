from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.live.speaking import vocabulary
from loadtest.peers.talker import PAUSE_FRAMES, Turns

LOUD, QUIET = vocabulary().loud[0], vocabulary().quiet[0]
BARGE_IN = Path(__file__).parents[2] / "loadtest" / "scenarios" / "barge-in.toml"


def verdicts(words: list[bytes]) -> list[tuple[int, str]]:
    turns = Turns()
    heard = [(frame, turns.hear(one)) for frame, one in enumerate(words)]
    return [(frame, verdict) for frame, verdict in heard if verdict is not None]


def test_a_turn_ends_after_a_pause_and_is_answered_once() -> None:
    """Speech, then 300 ms of quiet: one answer, and none for the quiet that goes on."""
    words = [QUIET] * 50 + [LOUD] * 10 + [QUIET] * 50
    assert verdicts(words) == [(50, "interrupt"), (59 + PAUSE_FRAMES, "answer")]


def test_a_breath_is_no_pause() -> None:
    """Quiet that is shorter neither ends the turn nor begins another."""
    words = [LOUD] * 5 + [QUIET] * (PAUSE_FRAMES - 1) + [LOUD] * 5
    assert verdicts(words) == [(0, "interrupt")]


@pytest.mark.slow
def test_callers_who_interrupt(tmp_path: Path) -> None:
    """The example: the backend falls silent in the callers' ears, and nobody is lost."""
    arguments = ["run", str(BARGE_IN), "--report", str(tmp_path / "r.html"), "--json"]
    output = CliRunner().invoke(app, arguments)
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["barge_in_ms_p99"] is not None
    assert result["calls_lost"] == 0
