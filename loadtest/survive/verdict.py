"""From what was seen to figures, bars and a histogram in text. Pure.

The figures that others quote are made of the name of the fault and of what it is:

    move_calls          move_lost_calls          move_gap_ms_p50           moves
    kill_calls          kill_lost_calls          kill_gap_ms_p50
    hang_calls          hang_lost_calls          hang_gap_ms_p50           stale_packets
    host_calls          host_lost_calls          host_gap_ms_p50
    backend_kill_calls  backend_kill_lost_calls  backend_kill_pause_ms_p50
    redis_away_calls    redis_away_lost_calls    redis_away_gap_ms_p50
    upgrade_calls       upgrade_lost_calls       upgrade_gap_ms_p50
    relay_kill_calls    relay_kill_lost_calls    relay_kill_gap_ms_p50
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtest.benchmark import Check, Result
from loadtest.percentiles import percentile
from loadtest.survive.faults import FAULTS
from loadtest.survive.trial import Seen

MOVES = 400
EDGES_MS = (0, 5, 10, 20, 40, 60, 100, 200, 400, 700, 1000, 2000)
WIDTH = 50
PLANNED = ("move", "redis_away", "upgrade")  # nothing is lost or said twice
PAUSES = "backend_kill"  # its bar is of the conversation, and not of the sound


def judge(seen: Mapping[str, Seen], asked: Sequence[str], absent: Mapping[str, str]) -> Result:
    """All figures. `absent` says of faults that were asked for why they were not measured."""
    result = Result()
    for name in asked:
        _add_fault(result, name, seen.get(name), absent.get(name, "was not measured"))
    result.figures["messages"] = sum(one.messages for one in seen.values())
    planned = [one for one in seen.values() if one.fault.name in PLANNED]
    for figure in ("messages_lost", "messages_twice"):
        total = sum(getattr(one, figure) for one in planned)
        result.figures[figure] = total if planned else None
        if planned:
            result.checks.append(_at_most(figure, total, 0))
    return result


def _add_fault(result: Result, name: str, seen: Seen | None, why: str) -> None:
    if seen is None:
        result.figures[f"{name}_lost_calls"] = None
        result.checks.append(Check(f"{name}_lost_calls", passed=False, detail=why))
        return
    times = seen.pauses_ms if name == PAUSES else seen.gaps_ms
    kind = "pause" if name == PAUSES else "gap"
    result.figures |= {
        f"{name}_repeats": seen.repeats,
        f"{name}_calls": seen.struck,
        f"{name}_lost_calls": seen.lost_calls + seen.bystanders_lost,
        f"{name}_{kind}_ms_p50": _percentile(times, 50),
        f"{name}_{kind}_ms_p99": _percentile(times, 99),
        f"{name}_quiet_ms_p99": _percentile(seen.quiet_ms, 99),
        f"{name}_messages_lost": seen.messages_lost,
        f"{name}_messages_twice": seen.messages_twice,
    }
    bar = FAULTS[name].bar_ms
    result.checks += [
        Check(f"{name}: calls were there", seen.struck > 0, f"{seen.struck} calls"),
        _at_most(f"{name}_lost_calls", seen.lost_calls + seen.bystanders_lost, 0),
        _at_most(f"{name}_{kind}_ms_p99", _percentile(times, 99), bar),
    ]
    _add_own(result, name, seen)


def _add_own(result: Result, name: str, seen: Seen) -> None:
    """What is asked of this fault alone."""
    if name == "move":
        moved = seen.struck - seen.stayed
        result.figures |= {"moves": moved, "move_stayed": seen.stayed}
        result.checks.append(Check("moves", moved >= MOVES, f"{moved}, bar: at least {MOVES}"))
        result.checks.append(_at_most("move_stayed", seen.stayed, 0))
    if name == "redis_away":
        result.checks.append(_at_most("redis_away_stayed", seen.stayed, 0))
    if name == "hang":
        result.figures["stale_packets"] = seen.stale_packets
        result.checks.append(_at_most("stale_packets", seen.stale_packets, 0))
    if name == PAUSES:
        result.figures["backend_kill_forgotten"] = seen.forgotten
        result.checks.append(_at_most("backend_kill_forgotten", seen.forgotten, 0))


def histogram(times_ms: Sequence[float]) -> list[str]:
    """A line for each bin that holds something, widest bar first to last."""
    bins = [0] * len(EDGES_MS)
    for time_ms in times_ms:
        bins[max(index for index, edge in enumerate(EDGES_MS) if time_ms >= edge)] += 1
    most = max(bins, default=0)
    return [
        f"{_bin(index):>12} ms {'#' * max(1, round(WIDTH * count / most))} {count}"
        for index, count in enumerate(bins)
        if count
    ]


def _bin(index: int) -> str:
    upper = EDGES_MS[index + 1] if index + 1 < len(EDGES_MS) else "more"
    return f"{EDGES_MS[index]} to {upper}"


def _percentile(times_ms: Sequence[float], percent: float) -> float | None:
    return round(percentile(times_ms, percent), 1) if times_ms else None


def _at_most(name: str, value: float | None, bar: float) -> Check:
    if value is None:
        return Check(name, passed=False, detail="was not measured")
    return Check(name, value <= bar, f"{value:g}, bar: at most {bar:g}")
