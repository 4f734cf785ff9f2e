"""Call ids: whose they are can be read from them, and nothing else."""

from __future__ import annotations

import pytest

from transceiver.call_id import MAX_PROCESSES, new_call_id, process_of


@pytest.mark.parametrize("process", range(MAX_PROCESSES))
def test_an_id_names_its_process(process: int) -> None:
    """Every number a process may have comes back, and two ids are never the same."""
    first, second = new_call_id(process), new_call_id(process)
    assert process_of(first) == process_of(second) == process
    assert first != second
    assert len(first) == len("rtc_") + 1 + 24


@pytest.mark.parametrize("text", ["", "rtc_", "rtc", "call_A123", "rtc_!abc", "rtc_ä", "RTC_Aabc"])
def test_what_is_no_id_names_nobody(text: str) -> None:
    """Whatever a caller writes into a path is no reason to ask a neighbour."""
    assert process_of(text) is None
