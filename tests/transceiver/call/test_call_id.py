"""Call ids: who made them can be read from them, and nothing else."""

from __future__ import annotations

import pytest

from transceiver.call.call_id import MAX_PROCESSES, Origin, new_call_id, origin_of


@pytest.mark.parametrize("process", range(MAX_PROCESSES))
@pytest.mark.parametrize("node", [0, 1, 63, 64, 4095, 4096, 65535])
def test_an_id_names_its_process_and_node(process: int, node: int) -> None:
    """Every number they may have comes back, and two ids are never the same."""
    first, second = new_call_id(process, node), new_call_id(process, node)
    assert origin_of(first) == origin_of(second) == Origin(process, node)
    assert first != second
    assert len(first) == len("rtc_") + 4 + 24


@pytest.mark.parametrize(
    "text",
    [
        *("", "rtc_", "rtc", "rtc_AAAA", "call_A123xxxx", "rtc_!abcdef", "rtc_AA!Aabc"),
        *("rtc_äabcdef", "RTC_Aabcdef", "rtc_A" + "QAA" + "x" * 24),
    ],
)
def test_what_is_no_id_names_nobody(text: str) -> None:
    """Whatever a caller writes into a path is no reason to ask a neighbour."""
    assert origin_of(text) is None
