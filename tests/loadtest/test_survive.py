"""What `loadtest survive` measures: gaps at the ear, lost calls, what the past still says."""

from __future__ import annotations

import pytest

from loadtest.benchmark import Result
from loadtest.callers.opus_packets import encode
from loadtest.sound import tone
from loadtest.survive import verdict
from loadtest.survive.chaos import judge_chaos
from loadtest.survive.checkpoints import figures
from loadtest.survive.command import run
from loadtest.survive.duration import seconds_of
from loadtest.survive.ear import Packet, gap_ms, lives, stale
from loadtest.survive.faults import FAULTS
from loadtest.survive.line import Line
from loadtest.survive.page import page
from loadtest.survive.trial import Seen
from loadtest.survive.verdict import histogram, judge


def _steady(from_s: float, to_s: float, first: int = 0) -> list[Packet]:
    """A packet each 20 ms."""
    count = round((to_s - from_s) / 0.02)
    return [Packet(from_s + 0.02 * n, first + n) for n in range(count)]


@pytest.mark.parametrize("silent_s", [0.1, 0.5, 2.0])
def test_a_gap_is_the_silence_beyond_the_pace(silent_s: float) -> None:
    """The time between two packets, less the length of one."""
    heard = _steady(0, 5) + _steady(4.98 + silent_s, 10)
    assert gap_ms(heard, 4.0, 9.0) == pytest.approx(1000 * silent_s - 20, abs=0.1)
    assert gap_ms(heard, 1.0, 4.0) == pytest.approx(0, abs=0.1)


def test_a_silence_that_does_not_end_is_a_gap_to_the_end() -> None:
    """And the call does not live."""
    heard = _steady(0, 5)
    assert gap_ms(heard, 4.0, 9.0) == pytest.approx(4000, abs=0.1)
    assert (lives(heard, 5.0), lives(heard, 9.0)) == (True, False)


def test_packets_of_the_past_are_counted() -> None:
    """A sender that was replaced and wakes up goes on with old numbers."""
    taken_over = _steady(0, 5) + _steady(5.3, 10, first=1000)
    assert stale(taken_over, 8.0) == 0
    past = _steady(8.01, 8.21, first=250)
    woken = sorted([*taken_over, *past])
    assert stale(woken, 8.0) == len(past) == 10
    assert stale(woken, 9.0) == 0


def test_messages_are_counted_by_number() -> None:
    """No answer is a loss, and two are one too many; events of the transceiver are neither."""
    line = Line()
    line.said_s = {0: 0.0, 1: 0.2, 2: 0.4}
    for reply in ('{"number":0,"known":1}', '{"number":1,"known":2}', '{"number":1,"known":3}'):
        line.hear_reply(reply)
    line.hear_reply('{"type":"error"}')
    assert (line.lost, line.twice) == ([2], [1])
    line.forget()
    assert list(line.said_s) == [2]


def test_a_fault_that_could_not_be_measured_fails() -> None:
    """With the reason; it is not left out."""
    result = judge({}, ["kill"], {"kill": "the fleet did not come back"})
    assert not result.passed
    assert result.figures["kill_lost_calls"] is None
    assert [check.detail for check in result.checks] == ["the fleet did not come back"]


def test_the_bars() -> None:
    """A good run passes; each bar is missed by one too many."""
    assert _judged().passed
    worse: list[dict[str, object]] = [
        {"lost_calls": 1},
        {"bystanders_lost": 1},
        {"stayed": 1},
        {"gaps_ms": [10.0] * 98 + [61.0] * 2},
        {"messages_lost": 1},
        {"messages_twice": 1},
        {"struck": 399},
        {"gaps_ms": []},
    ]
    for change in worse:
        assert not _judged(**change).passed, change


def _judged(**change: object) -> Result:
    values: dict[str, object] = {"repeats": 20, "struck": 401, "gaps_ms": [10.0] * 400}
    seen = Seen(FAULTS["move"], **{**values, **change})  # type: ignore[arg-type]
    return judge({"move": seen}, ["move"], {})


def test_the_histogram_has_a_line_for_each_bin() -> None:
    """With its count at the end."""
    lines = histogram([1.0, 2.0, 50.0, 3000.0])
    assert [line.split()[-1] for line in lines] == ["2", "1", "1"]
    assert "2000 to more" in lines[-1]


def test_the_page_draws_the_sound_of_a_fault() -> None:
    """One picture, its histogram, and the verdict."""
    packets = [Packet(0.02 * n, n, sound) for n, sound in enumerate(encode(tone(0.4, 440, 8000)))]
    seen = Seen(FAULTS["kill"], gaps_ms=[120.0], drawn=packets, drawn_at_s=0.2)
    text = page(judge({"kill": seen}, ["kill"], {}), {"kill": seen})
    assert text.count("<svg") == 1
    assert "100 to 200 ms" in text
    assert "Some checks failed" in text


@pytest.mark.timeout(180)
async def test_a_fault_under_live_callers() -> None:
    """Real processes: two calls with sound and messages, and a process that stands still."""
    seen, result = await run(["hang"], calls=2, repeats=1)
    assert seen["hang"].struck >= 1
    assert seen["hang"].messages > 20
    assert len(seen["hang"].gaps_ms) + seen["hang"].lost_calls >= 1
    assert result.figures["messages"] == seen["hang"].messages


def test_the_figures_that_others_quote_are_there() -> None:
    """By the names that stand at the top of the verdict."""
    every = {name: Seen(fault, gaps_ms=[1.0], pauses_ms=[1.0]) for name, fault in FAULTS.items()}
    found = judge(every, list(FAULTS), {}).figures
    quoted = (verdict.__doc__ or "").split("\n\n")[-1].split()
    assert len(quoted) > 15
    assert set(quoted) <= set(found)


def test_times_as_people_write_them() -> None:
    """A number and a unit, and nothing else."""
    assert [seconds_of(text) for text in ("90s", "20m", "1h")] == [90, 1200, 3600]
    for wrong in ("20", "m", "20 m", "1.5h", "-3s", ""):
        with pytest.raises(ValueError, match="behind it"):
            seconds_of(wrong)


def test_chaos_fails_for_one_lost_call() -> None:
    """Whichever fault it was, and when no fault was done."""
    seen = {name: Seen(FAULTS[name], repeats=1, struck=5) for name in ("kill", "host")}
    assert judge_chaos(seen, 1).passed
    seen["host"].bystanders_lost = 1
    result = judge_chaos(seen, 1)
    assert (result.passed, result.figures["chaos_lost_calls"]) == (False, 1)
    assert not judge_chaos({}, 1).passed


def test_what_cannot_be_measured_yet_fails() -> None:
    """Bytes for each call are there; what has no figure fails and says why."""
    result = figures(1000.0, 9000.0, 4)
    assert result.figures["checkpoint_bytes_per_call_s"] == 2000
    assert [check.name for check in result.checks if not check.passed] == [
        "checkpoint_cpu_share",
        "capacity_ratio_with_checkpoints",
    ]
