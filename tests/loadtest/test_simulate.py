from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.simulate.autoscaler import Autoscaler
from loadtest.simulate.model import Fleet, rates
from loadtest.simulate.settings import Settings

BLOCKING = Path(__file__).parents[2] / "loadtest" / "scenarios" / "blocking.toml"


def erlang_b(offered: float, places: int) -> float:
    """The share of calls that find all places taken, for callers who come by chance."""
    blocked = 1.0
    for place in range(1, places + 1):
        blocked = offered * blocked / (place + offered * blocked)
    return blocked


def fixed_fleet(**changes: object) -> Settings:
    """Places that do not change, callers at a steady rate who do not come back."""
    given_ = {
        "calls": 60_000,
        "seconds": 10_000,
        "tick_s": 0.25,
        "mean_call_s": 3.0,
        "peak_ratio": 1.0,
        "node_calls": 8,
        "first_nodes": 2,
        "most_nodes": 2,
        "failures": 0,
        "deploys": 0,
        "tries": 1,
        "autoscale": False,
    }
    return Settings(**(given_ | changes))  # type: ignore[arg-type]


def test_blocking_is_what_theory_says() -> None:
    """Erlang's formula gives the same share of refused calls as the model, to a fiftieth."""
    day = Fleet(fixed_fleet()).run()
    assert day.refused / day.offered == pytest.approx(erlang_b(18, 16), abs=0.02)


@pytest.mark.slow
def test_a_small_real_run_is_foretold(tmp_path: Path) -> None:
    """Real calls to a real fleet with sixteen places are refused about as often as the model says.

    Two hundred and forty calls say it to about five percent either way; the bar is twice that.
    """
    arguments = ["run", str(BLOCKING), "--report", str(tmp_path / "r.html"), "--json"]
    output = CliRunner().invoke(app, arguments)
    assert output.exit_code == 0, output.output
    real = json.loads(output.stdout.splitlines()[-1])
    day = Fleet(fixed_fleet()).run()
    offered = real["calls_placed"] + real["calls_refused"]
    foretold = day.refused / day.offered
    assert real["calls_refused"] / offered == pytest.approx(foretold, abs=0.1)
    assert real["goodput_fps"] / 50 == pytest.approx(np.mean(day.live), rel=0.2)


@given(
    calls=st.integers(1000, 40_000),
    failures=st.integers(0, 20),
    deploys=st.integers(0, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
@hypothesis_settings(max_examples=15)
def test_every_call_is_accounted_for(
    calls: int, failures: int, deploys: int, share: float, seed: int
) -> None:
    """Whatever happens, placed calls are completed, lost, cut or live, and no node is overfull."""
    settings = Settings(
        calls=calls,
        seconds=7200,
        failures=failures,
        deploys=deploys,
        lost_on_failure=share,
        seed=seed,
    )
    day = Fleet(settings).run()
    assert day.placed == day.completed + day.lost + day.cut + day.live[-1]
    assert max(day.nodes) <= settings.most_nodes
    assert max(day.live) <= settings.most_nodes * settings.node_calls
    assert day.gave_up <= day.refused


def test_the_same_seed_is_the_same_day() -> None:
    """Two runs are alike, and another seed is another day."""
    settings = Settings(calls=20_000, seconds=3600)
    assert Fleet(settings).run() == Fleet(settings).run()
    assert Fleet(settings).run() != Fleet(Settings(calls=20_000, seconds=3600, seed=2)).run()


def test_failures_cost_calls_only_when_nobody_takes_them_over() -> None:
    """The same day with takeover loses none, as long as there is room elsewhere."""
    roomy = {"calls": 40_000, "seconds": 7200, "failures": 8, "target_share": 0.3}
    day = Fleet(Settings(**roomy, first_nodes=30, lost_on_failure=0.0)).run()  # type: ignore[arg-type]
    assert (day.failures, day.lost) == (8, 0)
    assert Fleet(Settings(calls=40_000, seconds=7200, failures=8)).run().lost > 0


def test_drains_cut_nobody_who_is_shorter_than_the_deadline() -> None:
    """With short calls and two upgrades every call ends by itself."""
    day = Fleet(Settings(calls=40_000, seconds=7200, mean_call_s=30, deploys=2, failures=0)).run()
    assert day.drains > 0
    assert day.cut == 0


def test_the_wave_has_the_day_s_calls() -> None:
    """Callers of all steps are those that were asked for, with the peak at noon."""
    settings = Settings()
    wave = rates(settings) * settings.tick_s
    assert wave.sum() == pytest.approx(1_000_000)
    assert wave.argmax() == pytest.approx(settings.ticks / 2, abs=1)
    assert wave.max() / wave.mean() == pytest.approx(1.8, abs=0.01)


def test_scaling_up_is_at_once_and_down_takes_its_time() -> None:
    """A drop in calls is believed after the settling time, a rise immediately."""
    scaler = Autoscaler(node_calls=100, target_share=0.5, settle=3, fewest=1, most=10)
    assert scaler.wanted(500, 2) == 10
    assert [scaler.wanted(100, 10) for _ in range(3)] == [10, 10, 2]
    assert scaler.wanted(104, 2) == 2  # within a tenth
    assert scaler.wanted(10_000, 2) == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calls": 0}, "are above 0"),
        ({"first_nodes": 9, "most_nodes": 8}, "no more first ones than most"),
        ({"peak_ratio": 3.0}, "peak_ratio"),
        ({"tick_s": 500.0}, "a tick is shorter"),
        ({"tries": 0}, "tries"),
    ],
)
def test_a_day_that_makes_no_sense(change: dict[str, float], words: str) -> None:
    """Each rule is named when it is broken."""
    with pytest.raises(ValueError, match=words):
        Settings(**change)  # type: ignore[arg-type]


def test_a_million_calls() -> None:
    """The command lives through a whole day of a million calls, and hardly anybody gives up."""
    output = CliRunner().invoke(app, ["simulate", "--json"])
    assert output.exit_code == 0, output.output
    day = json.loads(output.stdout.splitlines()[-1])
    assert day["calls_offered"] == pytest.approx(1_000_000, rel=0.01)
    assert day["passed"]
