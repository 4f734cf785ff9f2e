from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.plan.figures import FiguresError, read_figures
from loadtest.plan.sizing import Demand, port_per_call, relay_cores, trunkline

FIGURES = read_figures()
ROOT = Path(__file__).parents[2]


def test_every_figure_says_where_it_comes_from() -> None:
    """A command of this harness that exists, a rule, or an honest assumption."""
    commands = CliRunner().invoke(app, ["--help"]).stdout
    for name, figure in FIGURES:
        if not figure.source.startswith(("assumption", "rule: ")):
            found = re.match(r"python -m loadtest (\S+)(?: (\S+\.toml))?", figure.source)
            assert found, name
            assert found[1] in commands
            assert found[2] is None or (ROOT / found[2]).exists()


def test_a_hundred_thousand_calls_in_three_regions() -> None:
    """Two regions carry all calls when the third is lost; each has one public port."""
    demand = Demand(100_000, 3)
    needs = trunkline(demand, FIGURES)
    assert needs.calls == 50_000
    assert (needs.public_udp_ports, needs.public_addresses) == (1, 1)
    per_core = 1000 * FIGURES.busy.value / FIGURES.transceiver_cpu_ms_per_call_s.value
    assert needs.transceiver_cores == pytest.approx(50_000 / per_core + 1, abs=1)
    stock = port_per_call(demand, FIGURES)
    assert stock.public_udp_ports == 50_000
    assert stock.public_addresses > needs.public_addresses


def test_relays_carry_both_directions() -> None:
    """Twice the calls are about twice the cores, and a handful still has one in each zone."""
    assert relay_cores(1, FIGURES) == 3
    many, more = relay_cores(400_000, FIGURES), relay_cores(800_000, FIGURES)
    assert 1.9 < (more - 1) / (many - 1) < 2.1


@given(st.integers(1, 1_000_000), st.integers(1, 20))
def test_more_calls_never_need_less(calls: int, regions: int) -> None:
    """Every need grows with the calls, and none is negative."""
    less = trunkline(Demand(calls, regions), FIGURES)
    more = trunkline(Demand(2 * calls, regions), FIGURES)
    for name, value in vars(less).items():
        assert 0 <= value <= vars(more)[name]


def test_nothing_to_plan() -> None:
    """No calls or no regions is a mistake."""
    for calls, regions in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one call"):
            Demand(calls, regions)


def test_own_figures_take_the_place_of_ours(tmp_path: Path) -> None:
    """A file may name some; what is wrong in it is told with the key."""
    path = tmp_path / "own.toml"
    path.write_text('[call_s]\nvalue = 60\nsource = "our logs"\n')
    assert read_figures(path).call_s.value == 60
    assert read_figures(path).busy == FIGURES.busy
    path.write_text('[call_s]\nvalue = -1\nsource = "x"\n')
    with pytest.raises(FiguresError, match=r"own\.toml: call_s\.value: Input should be greater"):
        read_figures(path)
    with pytest.raises(FiguresError, match=r"none\.toml: no such file"):
        read_figures(tmp_path / "none.toml")


def test_the_command_prints_a_plan_and_its_assumptions() -> None:
    """The table, each figure with its source, and JSON as the last line."""
    output = CliRunner().invoke(
        app, ["plan", "--calls", "100000", "--regions", "3", "--json"], env={"COLUMNS": "200"}
    )
    assert output.exit_code == 0, output.output
    assert all(name in output.stdout for name, _ in FIGURES)
    plan = json.loads(output.stdout.splitlines()[-1])
    assert plan["all_regions"]["calls"] == 3 * plan["region"]["calls"] == 150_000
    assert plan["all_regions"]["month"] < plan["port_per_call_all_regions"]["month"]


def test_figures_that_cannot_be_read_are_a_usage_error(tmp_path: Path) -> None:
    """Exit status 2 and one line."""
    path = tmp_path / "bad.toml"
    path.write_text("call_s = 3")
    output = CliRunner().invoke(app, ["plan", "--calls", "5", "--figures", str(path)])
    assert output.exit_code == 2
    assert "bad.toml: call_s" in output.stderr
