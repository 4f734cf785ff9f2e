from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtest.live.tally import Tally
from loadtest.scenario_runs import usage
from loadtest.scenario_runs.command import FLEET, of_size
from loadtest.scenario_runs.metrics import METRICS, figures
from loadtest.scenario_runs.page import page
from loadtest.scenario_runs.plots import draw, plots_of
from loadtest.scenario_runs.scenario_file import (
    MAX_FILE_BYTES,
    ScenarioError,
    parse_scenario,
    parts_of,
    read_scenario,
)
from loadtest.scenario_runs.timeline import Moment, Timeline, Usage
from loadtest.scenario_runs.verdict import InjectedFault, checks, costs_of, judge
from loadtest.stand import Shape

EXAMPLES = Path(__file__).parents[2] / "loadtest" / "scenarios"
GOOD = """
title = "t"
seconds = 10
[stand]
[[ramp]]
at_s = 0
calls = 3
[[mix]]
name = "a"
[thresholds]
calls_lost = { max = 0 }
"""


def moment(second: int, **numbers: int) -> Moment:
    tally = Tally(second, live=3, **numbers)  # type: ignore[arg-type]
    tally.gap_ms.add([30.0 + second])
    tally.setup_ms.add([12.0])
    usage = {"relay": Usage(10.0 * second, 50.0 + second), "callers": Usage(1.0, 9.0)}
    return Moment(tally, usage)


def run_of(seconds: int) -> list[Moment]:
    return [moment(second, sent=100, echoed=99) for second in range(seconds)]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_a_scenario(path: Path) -> None:
    """What is shipped as an example can be read, and has thresholds that decide."""
    assert read_scenario(path).thresholds


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("calls = 3", "calls = -1"), "x.toml: ramp.0.calls: Input should be greater"),
        (("seconds = 10", ""), "x.toml: seconds: Field required"),
        (("[stand]", "[stand]\nrelays = 99"), "x.toml: stand.relays: Input should be less"),
        (('name = "a"', 'name = "a"\nvolume = 3'), "x.toml: mix.0.volume: Extra inputs are not"),
        (('name = "a"', 'name = "a"\nspeaks = "x"'), "x.toml: mix.0.speaks: Input should be"),
        (("calls_lost", "calls_fun"), "x.toml: thresholds.calls_fun: Input should be"),
        (("{ max = 0 }", "{ }"), "x.toml: thresholds.calls_lost: min, max or both"),
        (("[stand]", ""), "x.toml: one of [stand] and [target]"),
        (("title", "title ="), "x.toml: not TOML: "),
    ],
)
def test_what_is_wrong_is_told_with_its_path(change: tuple[str, str], line: str) -> None:
    """One line names the file, the key and the rule."""
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(GOOD.replace(*change).encode(), "x.toml")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ('at_s = 1\ndo = "kill"\npart = "relay-2"', "no part is called relay-2"),
        ('at_s = 10\ndo = "kill"\npart = "relay-1"', "at_s 10 is not within the run"),
        ('at_s = 1\ndo = "drain"\npart = "redis-1"', "Redis does not drain"),
        ('at_s = 1\ndo = "kill_worker"\npart = "redis-1"', "only relays have workers"),
    ],
)
def test_faults_that_cannot_be_done(fault: str, words: str) -> None:
    """A fault names a part there is, a time within the run, and what that part can do."""
    with pytest.raises(ScenarioError, match=words):
        parse_scenario(f"{GOOD}\n[[fault]]\n{fault}\n".encode(), "x.toml")


def test_all_mistakes_are_told_at_once() -> None:
    """Two mistakes are two lines."""
    text = GOOD.replace("calls = 3", "calls = -1").replace("seconds = 10", "seconds = 0")
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text.encode(), "x.toml")
    assert len(str(caught.value).splitlines()) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and one without end are errors of one line."""
    with pytest.raises(ScenarioError, match=r"^none\.toml: no such file or directory$"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ScenarioError, match="longer than"):
        read_scenario(tmp_path / "big.toml")


def test_a_killed_master_stays_away_until_another_leads() -> None:
    """Without a time of its own it would come back empty and still be master."""
    fault = '[[fault]]\nat_s = 1\ndo = "kill"\npart = "redis_master"'
    [read] = parse_scenario(f"{GOOD}\n{fault}\n".encode(), "x.toml").fault
    assert read.stays_down_s == 8
    assert parts_of(Shape())[-2:] == ["redis-1", "redis_master"]


def test_a_timeline_waits_for_every_generator() -> None:
    """A second is complete when all have told it; then it is their sum."""
    timeline = Timeline(2)
    assert timeline.add(Tally(0, live=1, sent=5)) is None
    complete = timeline.add(Tally(0, live=2, sent=6))
    assert complete is not None
    assert (complete.tally.live, complete.tally.sent) == (3, 11)
    timeline.note_usage(7, {})
    assert [one.tally.second for one in timeline.moments] == [0]


def test_figures_have_every_metric() -> None:
    """A threshold can be set on each, and those not measured are None and not zero."""
    values = figures(run_of(6))
    assert set(values) == set(METRICS)
    assert values["frames_lost_percent"] == 1.0
    assert values["cpu_percent_relay"] == 25.0
    assert values["memory_growth_mib"] == 3.0
    assert values["barge_in_ms_p99"] is None
    assert figures([])["setup_ms_p99"] is None


def test_thresholds_hold_or_not() -> None:
    """A figure outside its bound fails, and so does one that was never measured."""
    text = GOOD + "setup_ms_p99 = { max = 5 }\ngoodput_fps = { min = 1, max = 9 }\n"
    bounds = parse_scenario(text.encode(), "x").thresholds
    held = checks(bounds, {"calls_lost": 0.0, "setup_ms_p99": None, "goodput_fps": 4.0})
    assert [check.passed for check in held] == [True, False, True]
    assert held[2].detail == "4, at least 1, at most 9"


def test_a_fault_is_charged_until_the_next_one() -> None:
    """What was lost after the second fault is not laid at the door of the first."""
    moments = run_of(10)
    moments[3].tally.lost_calls = 1
    moments[6].tally.lost_calls = 2
    faults = [InjectedFault("kill a", "a", 2.5, 0.1), InjectedFault("kill b", "b", 5.0, 0.1)]
    assert [cost.calls_lost for cost in costs_of(faults, moments)] == [1, 2]
    assert costs_of([], moments) == []


def test_a_fault_that_cost_more_calls_than_it_may() -> None:
    """Its own bound is a check; a fault without one may cost what it likes."""
    moments = run_of(10)
    moments[6].tally.lost_calls = 2
    faults = [
        InjectedFault("kill a", "a", 2.5, 0.1, calls_lost_max=0),
        InjectedFault("kill b", "b", 5.0, 0.1, calls_lost_max=1),
        InjectedFault("kill c", "c", 8.0, 0.1),
    ]
    result = judge(parse_scenario(GOOD.encode(), "x"), moments, faults)
    held = {check.name: check.passed for check in result.checks if check.name.startswith("kill")}
    assert held == {"kill a at 2 s": True, "kill b at 5 s": False}


def test_the_fleet_in_another_size() -> None:
    """Half the calls are half the ramp, and reaching them is the threshold."""
    small = of_size(read_scenario(FLEET), 100)
    assert max(point.calls for point in small.ramp) == 100
    assert small.thresholds["calls_live_max"].min == 100


def test_a_fault_that_was_not_done_fails_the_run() -> None:
    """A run whose faults never happened proves nothing."""
    text = GOOD + '[[fault]]\nat_s = 1\ndo = "kill"\npart = "relay-1"\n'
    result = judge(parse_scenario(text.encode(), "x"), run_of(3), [])
    assert not result.passed


def test_plots_are_whole_svg() -> None:
    """Each picture is well-formed XML with its axis and the names of its faults as text."""
    moments = run_of(5)
    plots = plots_of(moments)
    assert {"Live calls", "CPU", "Goodput", "Frames lost"} <= {plot.title for plot in plots}
    svg = draw(plots[0], range(5), [InjectedFault("kill relay-1", "relay-1", 2.0, 0.1)])
    ET.fromstring(svg)
    assert "kill relay-1" in svg
    assert "Interruption until the backend is silent" not in {plot.title for plot in plots}


class Links(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {"src", "href", "data", "action"}
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.fetched += [value or "" for name, value in attrs if name in names]


def test_the_page_needs_nothing_else() -> None:
    """No script, style sheet, font or picture comes from anywhere; user text is escaped."""
    scenario = parse_scenario(GOOD.encode(), "x")
    result = judge(scenario, run_of(4), [])
    text = page("<b>", result, run_of(4), (), GOOD, ["log line"])
    links = Links()
    links.feed(text)
    assert links.fetched == []
    assert not re.search(r"url\((?!#)", text)
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "log line" not in text


def test_a_failed_run_shows_its_log() -> None:
    """The end of the fleet's log stands in the page when a check did not hold."""
    text = GOOD.replace("max = 0", "min = 5")
    result = judge(parse_scenario(text.encode(), "x"), run_of(4), [])
    assert "log line" in page("t", result, run_of(4), log=["log line"])


def test_memory_is_read_now_and_then_and_shown_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs what it measures; a process that is gone counts nothing."""
    asked: list[int] = []

    def memory(pid: int) -> int:
        asked.append(pid)
        if pid == gone:
            raise FileNotFoundError
        return 3 << 20

    monkeypatch.setattr(usage, "memory_of", memory)
    gone, here = 1 << 30, os.getpid()
    meter = usage.UsageMeter()
    seen = [meter.read({"relay": [here, gone]})["relay"] for _ in range(usage.MEMORY_EVERY + 1)]
    assert asked == [here, gone] * 2
    assert {one.rss_mib for one in seen} == {3.0}
    assert all(one.cpu_percent >= 0 for one in seen)
