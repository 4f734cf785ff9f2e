from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from loadtest.__main__ import app


def run(*arguments: str) -> dict[str, object]:
    """Run a scenario in a stack of its own and return its JSON; its checks must hold."""
    output = CliRunner().invoke(app, [*arguments, "--json"])
    assert output.exit_code == 0, output.output
    result: dict[str, object] = json.loads(output.stdout.splitlines()[-1])
    return result


def test_a_call_through_the_whole_stack() -> None:
    """Two stock clients talk through relay, transceiver and backend and hear themselves."""
    result = run("call", "--calls", "2")
    assert (result["passed"], result["ok"], result["lost"]) == (True, 2, 0)
    by_worker = result["calls_by_relay_worker"]
    assert isinstance(by_worker, list)
    assert (len(by_worker), sum(by_worker)) == (2, 2)


@pytest.mark.slow
def test_calls_one_after_another_leave_nothing_behind() -> None:
    """After the calls no session, flow, thread or descriptor is left (flows take 30 s to go)."""
    result = run("sequence", "--calls", "50")
    assert (result["ok"], result["calls_left"], result["flows_left"]) == (50, 0, 0)
