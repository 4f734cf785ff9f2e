"""`loadtest siege`: what it calls lost, late and broken; and a short one against a real stack."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from loadtest.live.tally import Tally
from loadtest.siege.attackers import ATTACKS
from loadtest.siege.command import CALM_S, FILL_S, timetable
from loadtest.siege.ground import Map
from loadtest.siege.log import CountedLog
from loadtest.siege.notes import Notes
from loadtest.siege.verdict import TOGETHER, Seen, Stretch, judge

PLAN = [
    Stretch("", 0, 5),
    Stretch("garbage", 5, 10),
    Stretch("", 10, 15),
    Stretch(TOGETHER, 15, 20),
    Stretch("", 20, 25),
]


def tallies(late_ms: float = 3.0, **attacked: int) -> list[Tally]:
    """Twenty-five seconds of two calls; under attack they are as late and lose what is given; in
    the first five nobody else has a core."""
    found = []
    for second in range(25):
        under = 5 <= second < 10 or 15 <= second < 20
        tally = Tally(second, live=2, sent=100, echoed=100)
        tally.lateness_ms.add([late_ms if under else 3.0 if second > 4 else 1.0] * 100)
        for name, value in attacked.items() if under else ():
            setattr(tally, name, value)
        found.append(tally)
    return found


def seen(late_ms: float = 3.0, attacked: dict[str, int] | None = None, **changes: Any) -> Seen:
    """A siege that nobody noticed, but for the changes."""
    noted: dict[str, Any] = {
        "strangers_bytes": 0,
        "amplification": [1.2],
        "done": Counter(garbage=7),
    }
    counts: dict[str, Any] = {"restarted": 0, "tracebacks": 0}
    for name, value in changes.items():
        (noted if name in noted else counts)[name] = value
    notes = [Notes(**noted, share=share) for share in (0.0, 0.1, 0.1, 0.4, 0.4)]
    calls = tallies(late_ms, **(attacked or {}))
    return Seen(calls, PLAN, **counts, notes=notes, least_per_s={"garbage": 1.4})


def test_a_siege_that_nobody_noticed() -> None:
    """All bars hold, and the figures are those that are promised."""
    result = judge(seen())
    assert result.passed
    figures = result.figures
    assert figures["live_lost_calls"] == 0
    assert figures["live_frames_lost_share"] == 0
    assert figures["lateness_ratio"] == 1
    assert figures["amplification_max"] == 1.2
    assert figures["idle_lateness_ms_p99"] == pytest.approx(1.0, rel=0.03)
    assert figures["quiet_lateness_ms_p99"] == pytest.approx(3.0, rel=0.03)
    assert figures["done_per_s_by_attack"] == {"garbage": 1.4}
    assert figures["cores_by_attack"] == {"garbage": 0.1, TOGETHER: 0.4}


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"attacked": {"lost_calls": 1}}, "live_lost_calls"),
        ({"attacked": {"echoed": 99}}, "live_frames_lost_share"),
        ({"late_ms": 30.0}, "lateness_ratio"),
        ({"restarted": 1}, "processes_restarted"),
        ({"tracebacks": 1}, "tracebacks"),
        ({"strangers_bytes": 1}, "strangers_bytes"),
        ({"amplification": [1.0, 3.1]}, "amplification_max"),
        ({"done": Counter()}, "idle_attacks"),
        ({"done": Counter(garbage=6)}, "idle_attacks"),
    ],
)
def test_each_bar_can_fail(changes: dict[str, Any], fails: str) -> None:
    """And no other fails with it."""
    result = judge(seen(**changes))
    assert {check.name for check in result.checks if not check.passed} >= {fails}
    assert len([check for check in result.checks if not check.passed]) <= 2


def test_calm_and_attack_take_turns() -> None:
    """Each attack has calm seconds before it; at the end all come at once."""
    plan = timetable(["a", "b"], 6)
    assert [s.attack for s in plan] == ["", "a", "", "b", "", TOGETHER, ""]
    assert plan[0].start_s == FILL_S
    assert all(before.end_s == after.start_s for before, after in pairwise(plan))
    assert min(s.end_s - s.start_s for s in plan if not s.attack) == CALM_S
    assert timetable(list(ATTACKS), 6)[-1].end_s < 4 * 60


def test_what_goes_to_the_attackers_process_and_comes_back() -> None:
    """Maps and notes survive their lines; anything else is refused."""
    place = Map("http://a", "key", ("a", 1), ("b", 2), [("c", 3), ("d", 4)], "redis://e", [5, 6])
    assert Map.from_line(place.to_line()) == place
    assert "key" not in repr(place).replace("key=", "")
    notes = Notes(1, [1.5], Counter(garbage=7), 0.25)
    assert Notes.from_line(notes.to_line()) == notes
    for line in ("{}", "[]", "1", "nothing"):
        with pytest.raises(ValueError):
            Map.from_line(line)
        with pytest.raises(ValueError):
            Notes.from_line(line)


def test_tracebacks_are_counted_and_the_first_are_kept() -> None:
    """However many there are, memory is bounded."""
    log = CountedLog()
    for number in range(100):
        log.write(f'{{"exception": "Traceback (most recent call last):\\n {number}"}}\n')
        log.write("all is well\n")
    assert (log.lines, log.tracebacks, len(log.found)) == (200, 100, 20)
    assert log.getvalue() == ""


def test_an_attack_that_nobody_knows_is_refused() -> None:
    """The names that there are stand in the error."""
    done = _siege("--only", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


@pytest.mark.slow
def test_a_short_siege_of_a_real_stack() -> None:
    """Strangers and rude administrators: nothing restarts, and no stranger hears anything."""
    named = ["--only", "garbage", "--only", "forged checks", "--only", "replayed checks"]
    done = _siege("--seconds", "3", "--calls", "4", *named, "--json")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    checks = found["checks"]
    for name in ("live_lost_calls", "processes_restarted", "strangers_bytes"):
        assert checks[name], (name, found)
    assert len(found["done_per_s_by_attack"]) == 3
    assert all(found["done_per_s_by_attack"].values())
    assert set(found["cores_by_attack"]) == {*found["done_per_s_by_attack"], TOGETHER}


def _siege(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest", "siege", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
