"""`loadtest records` measures what it says: every event is stored, and every question answered."""

from __future__ import annotations

import random

from loadtest.records_bench import command
from loadtest.records_bench.calls import MadeCall


def test_both_stores_have_every_event() -> None:
    """The figures are there for both; whether a bar holds is for a machine of its own to say."""
    result = command.run(calls=20)
    for name in ("sqlite", "postgres"):
        figures = result.figures[name]
        assert isinstance(figures, dict)
        assert figures["events"] == 20 * len(list(MadeCall(0, 0, random.Random(1)).events()))
        assert figures["events_per_s"] > 0
        assert figures["list_ms_p95"] > 0
        assert 5_000 < figures["bytes_a_call_minute"] < 50_000
    assert len(result.checks) == 4
