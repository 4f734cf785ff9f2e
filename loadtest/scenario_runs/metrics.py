"""The figures of a run that thresholds may bound, from what was seen each second. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from loadtest.live.tally import Tally, total
from loadtest.scenario_runs.timeline import Moment

Metric = Literal[
    "calls_placed",
    "calls_live_max",
    "calls_lost",
    "calls_failed",
    "calls_refused",
    "refused_without_retry_after",
    "setup_ms_p50",
    "setup_ms_p99",
    "lateness_ms_p50",
    "lateness_ms_p99",
    "gap_ms_max",
    "frames_lost_percent",
    "frames_rejected",
    "goodput_fps",
    "barge_in_ms_p99",
    "send_lateness_ms_p99",
    "cpu_percent_relay",
    "cpu_percent_transceiver",
    "cpu_percent_backend",
    "memory_growth_mib",
]
METRICS: tuple[str, ...] = get_args(Metric)
KINDS = ("relay", "transceiver", "backend")


def figures(moments: Sequence[Moment]) -> dict[str, float | None]:
    """Every metric by name; None where nothing was measured."""
    whole = total(moment.tally for moment in moments)
    return {
        **counts(whole),
        "setup_ms_p50": whole.setup_ms.percentile(50),
        "setup_ms_p99": whole.setup_ms.percentile(99),
        "lateness_ms_p50": whole.lateness_ms.percentile(50),
        "lateness_ms_p99": whole.lateness_ms.percentile(99),
        "gap_ms_max": whole.gap_ms.percentile(100),
        "frames_lost_percent": loss_percent(whole),
        "frames_rejected": whole.rejected,
        "goodput_fps": round(whole.echoed / max(1, len(moments)), 1),
        "barge_in_ms_p99": whole.barge_in_ms.percentile(99),
        "send_lateness_ms_p99": whole.send_lateness_ms.percentile(99),
        **{f"cpu_percent_{kind}": mean_cpu(moments, kind) for kind in KINDS},
        "memory_growth_mib": memory_growth(moments),
    }


def counts(whole: Tally) -> dict[str, float | None]:
    """What happened to calls."""
    lost = whole.failures["silent"] + whole.failures["closed_by_peer"]
    return {
        "calls_placed": whole.placed,
        "calls_live_max": whole.live,
        "calls_lost": whole.lost_calls,
        "calls_failed": whole.failures.total() - lost,
        "calls_refused": whole.refused,
        "refused_without_retry_after": whole.without_retry_after,
    }


def loss_percent(tally: Tally) -> float | None:
    """Frames that never came back, in percent of those said."""
    return round(100 * (tally.sent - tally.echoed) / tally.sent, 4) if tally.sent else None


def mean_cpu(moments: Sequence[Moment], kind: str) -> float | None:
    """CPU of all processes of a kind, in percent of a core, on average."""
    seen = [moment.usage[kind].cpu_percent for moment in moments if kind in moment.usage]
    return round(sum(seen) / len(seen), 1) if seen else None


def cost_of_a_call(moments: Sequence[Moment]) -> dict[str, float]:
    """CPU of each kind for one second of one call, in ms; empty without calls."""
    live = sum(moment.tally.live for moment in moments if moment.usage)
    kinds = {kind for moment in moments for kind in moment.usage}
    return {
        kind: round(
            sum(10 * m.usage[kind].cpu_percent for m in moments if kind in m.usage) / live, 3
        )
        for kind in sorted(kinds)
        if live
    }


def memory_growth(moments: Sequence[Moment]) -> float | None:
    """MiB the worst kind gained between a third of the run and its end."""
    seen = [moment.usage for moment in moments if moment.usage]
    if len(seen) < 3:
        return None
    early, late = seen[len(seen) // 3], seen[-1]
    grown = [late[kind].rss_mib - early[kind].rss_mib for kind in early if kind in late]
    return round(max(grown), 1) if grown else None


def known(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Those that have a value, for a table."""
    return {name: value for name, value in values.items() if value is not None}
