"""The plots of a report: series over time as SVG text, to stand inside a page. Uses matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.scenario_runs.metrics import loss_percent
from loadtest.scenario_runs.timeline import Moment
from loadtest.scenario_runs.verdict import InjectedFault

SIZE_INCHES = (9.0, 2.4)
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "svg.hashsalt": "trunkline",  # the same data makes the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

Series = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Plot:
    """One picture: what is plotted, in which unit, and its values by second."""

    title: str
    unit: str
    series: Series
    logarithmic: bool = False


def plots_of(moments: Sequence[Moment]) -> list[Plot]:
    """The pictures of a run, those without any value left out."""
    tallies = [moment.tally for moment in moments]
    kinds = sorted({kind for moment in moments for kind in moment.usage})
    found = [
        Plot("Live calls", "calls", {"live": [float(t.live) for t in tallies]}),
        Plot("Calls placed, refused, lost", "per second", {
            "placed": [float(t.placed) for t in tallies],
            "refused": [float(t.refused) for t in tallies],
            "lost": [float(t.lost_calls) for t in tallies],
        }),
        Plot("Set-up, offer to keys", "ms", {
            "p50": [t.setup_ms.percentile(50) for t in tallies],
            "p99": [t.setup_ms.percentile(99) for t in tallies],
        }, logarithmic=True),
        Plot("Lateness of echoed frames", "ms", {
            "p50": [t.lateness_ms.percentile(50) for t in tallies],
            "p99": [t.lateness_ms.percentile(99) for t in tallies],
            "the callers' own, p99": [t.send_lateness_ms.percentile(99) for t in tallies],
        }, logarithmic=True),
        Plot("Frames lost", "%", {"lost": [loss_percent(t) for t in tallies]}),
        Plot("Longest silence of a call", "ms", {
            "worst": [t.gap_ms.percentile(100) for t in tallies],
            "p99": [t.gap_ms.percentile(99) for t in tallies],
        }, logarithmic=True),
        Plot("Goodput", "frames/s", {
            "said": [float(t.sent) for t in tallies],
            "echoed": [float(t.echoed) for t in tallies],
        }),
        Plot("Interruption until the backend is silent", "ms", {
            "p99": [t.barge_in_ms.percentile(99) for t in tallies]
        }),
        Plot("CPU", "% of a core", {
            kind: [m.usage[kind].cpu_percent if kind in m.usage else None for m in moments]
            for kind in kinds
        }),
        Plot("Memory", "MiB", {
            kind: [m.usage[kind].rss_mib if kind in m.usage else None for m in moments]
            for kind in kinds
        }),
    ]  # fmt: skip
    return [plot for plot in found if any(map(_has_values, plot.series.values()))]


def draw(plot: Plot, seconds: Sequence[int], faults: Sequence[InjectedFault] = ()) -> str:
    """Draw it as an `<svg>` element; faults are dashed lines with their names."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        for (name, values), colour in zip(plot.series.items(), _colours(plot), strict=True):
            known = [math.nan if value is None else value for value in values]
            axes.plot(seconds, known, label=name, color=colour, linewidth=1.3, marker=".", ms=3)
        if plot.logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        for fault in faults:
            axes.axvline(fault.at_s, color="#57606a", linestyle="--", linewidth=0.8)
            axes.annotate(
                fault.name, (fault.at_s, 1), xycoords=("data", "axes fraction"), fontsize=7
            )
        axes.set_ylabel(plot.unit)
        axes.set_xlabel("seconds")
        axes.grid(visible=True, alpha=0.25)
        axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)
        return _svg(figure)


def _colours(plot: Plot) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(plot.series))]


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def _has_values(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)
