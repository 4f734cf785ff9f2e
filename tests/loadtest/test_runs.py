from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.live.order import Mix, Order, Point
from loadtest.scenario_runs.generators import generators
from loadtest.target import Target

SCENARIO = """
title = "A short run"
seconds = 6
processes = 2
[stand]
relay_workers = 1
[[ramp]]
at_s = 0
calls = 0
[[ramp]]
at_s = 1
calls = 6
[[mix]]
name = "talkers"
[[mix]]
name = "leavers"
speaks = "turns"
call_s = 2
network = { delay_ms = 10, loss = 0.01 }
[[fault]]
at_s = 3
do = "kill"
part = "redis-1"
[thresholds]
calls_placed = { min = 6 }
calls_lost = { max = 0 }
calls_failed = { max = 0 }
frames_lost_percent = { max = 10 }
"""


def test_a_scenario_runs_and_reports(tmp_path: Path) -> None:
    """Calls from two processes, a Redis that is killed, thresholds, JSON and a page."""
    (tmp_path / "short.toml").write_text(SCENARIO)
    report = tmp_path / "report.html"
    arguments = ["run", str(tmp_path / "short.toml"), "--report", str(report), "--json"]
    output = CliRunner().invoke(app, arguments)
    result = json.loads(output.stdout.splitlines()[-1])
    assert output.exit_code == 0, output.output
    assert result["passed"]
    assert result["calls_live_max"] == 6
    [fault] = result["faults"]
    assert (fault["fault"], fault["calls_lost"]) == ("kill redis-1", 0)
    assert report.read_text().count("<svg") >= 8


def test_a_threshold_that_does_not_hold_is_exit_status_1(tmp_path: Path) -> None:
    """Nobody is there: the run ends in time, says so and fails."""
    text = SCENARIO.replace("[stand]\nrelay_workers = 1", "[target]\nurls = ['http://127.0.0.1:9']")
    text = text[: text.index("[[fault]]")] + text[text.index("[thresholds]") :]
    path = tmp_path / "nobody.toml"
    path.write_text(text.replace("seconds = 6", "seconds = 2"))
    arguments = ["run", str(path), "--report", str(tmp_path / "r.html"), "--json"]
    environment = {"TRUNKLINE_LOADTEST_API_KEY": "k"}
    output = CliRunner().invoke(app, arguments, env=environment)
    assert output.exit_code == 1, output.output
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["failures"]["http_error"] >= 1
    missing = CliRunner().invoke(app, arguments, env={"TRUNKLINE_LOADTEST_API_KEY": ""})
    assert missing.exit_code == 1
    assert "TRUNKLINE_LOADTEST_API_KEY: is not set" in missing.stderr


def test_a_bad_file_is_exit_status_2(tmp_path: Path) -> None:
    """A mistake in the file is told on stderr, and nothing is started."""
    path = tmp_path / "bad.toml"
    path.write_text("title = 3")
    output = CliRunner().invoke(app, ["run", str(path)])
    assert output.exit_code == 2
    assert "bad.toml: title: Input should be a valid string" in output.stderr


async def test_a_generator_ends_with_its_run() -> None:
    """A generator whose order would last for an hour ends when its stdin is closed."""
    order = Order(
        urls=(Target("http://127.0.0.1:9", "k").url,),
        api_key="k",
        ramp=(Point(at_s=0, calls=1),),
        mixes=(Mix(name="a"),),
        seconds=3600,
        dead_after_s=5,
    )
    async with generators([order]) as [generator]:
        generator.begin(0.0)
        pid = generator.pid
    assert not psutil.pid_exists(pid)


@pytest.mark.slow
def test_bad_networks_and_rebinds(tmp_path: Path) -> None:
    """The example with four networks: nobody is lost, and a rebind costs one check interval."""
    example = Path(__file__).parents[2] / "loadtest" / "scenarios" / "bad-networks.toml"
    arguments = ["run", str(example), "--report", str(tmp_path / "r.html"), "--json"]
    output = CliRunner().invoke(app, arguments)
    assert output.exit_code == 0, output.output
