from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app
from loadtest.benchmarks.soak import Tally
from loadtest.residue import Usage, median_usage

MIB = 2**20


def usage(mib: int, fds: int = 10) -> Usage:
    return Usage(fds=fds, threads=3, memory_bytes=mib * MIB)


def test_a_median_is_taken_figure_by_figure() -> None:
    """One odd reading moves nothing, and a part that was away is left out."""
    seen = [
        {"engine": usage(80, fds=12), "relay": usage(9)},
        {"engine": usage(300, fds=11)},
        {"engine": usage(81, fds=90)},
    ]
    assert median_usage(seen) == {"engine": usage(81, fds=12)}


@pytest.mark.parametrize("rounds", [1, 2, 9, 10, 25, 360])
def test_tenths_have_every_round_once(rounds: int) -> None:
    """A run is cut into ten in order, or into as many pieces as it has rounds."""
    tally = Tally(usages=[{"engine": usage(mib)} for mib in range(rounds)])
    medians = [tenth["engine"].memory_bytes // MIB for tenth in tally.tenths]
    assert len(medians) == min(10, rounds)
    assert medians == sorted(set(medians))
    assert medians[-1] - medians[0] >= 0.8 * (rounds - 1)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_two_minutes_of_calls_that_come_and_go() -> None:
    """The soak in short: 150 at a time; no memory, call, flow, descriptor, thread or task stays."""
    output = CliRunner().invoke(app, ["soak", "--seconds", "120", "--json"])
    assert output.exit_code == 0, output.output
    result = json.loads(output.stdout.splitlines()[-1])
    assert result["calls_placed"] > 300
    assert set(result["checks"].values()) == {True}
