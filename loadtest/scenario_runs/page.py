"""The report: one HTML file that needs nothing else, neither scripts nor fonts nor a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from loadtest.benchmark import Result
from loadtest.report import cell
from loadtest.scenario_runs.plots import draw, plots_of
from loadtest.scenario_runs.timeline import Moment
from loadtest.scenario_runs.verdict import InjectedFault, costs_of

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
td, th { border-bottom: 1px solid #d0d7de; padding: 0.2rem 0.8rem 0.2rem 0; text-align: left; }
svg { max-width: 100%; height: auto; } pre { background: #f6f8fa; padding: 1rem; overflow: auto; }
.ok { color: #1a7f37; } .failed { color: #d1242f; font-weight: 600; }
"""
LOG_LINES = 200


def page(
    title: str,
    result: Result,
    moments: Sequence[Moment],
    faults: Sequence[InjectedFault] = (),
    scenario: str = "",
    log: Sequence[str] = (),
) -> str:
    """Write the whole page: verdict, checks, figures, faults, plots, the scenario's text, the log.

    The log is the fleet's own, which carries no address, ufrag or transcript; it is shown when a
    check failed.
    """
    passed = '<p class="ok">Every check held.</p>'
    verdict = passed if result.passed else '<p class="failed">Some checks failed.</p>'
    return "\n".join(
        (
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>{verdict}",
            "<h2>Checks</h2>" + _checks(result),
            "<h2>Figures</h2>" + _figures(result),
            *_faults(faults, moments),
            "<h2>Over time</h2>",
            *_plots(moments, faults),
            *_text("Scenario", scenario),
            *_text("Log", "\n".join(log[-LOG_LINES:]) if not result.passed else ""),
            "</body></html>",
            "",
        )
    )


def _checks(result: Result) -> str:
    return _table(
        ("", "check", "seen"),
        (
            (_mark(passed=check.passed), escape(check.name), escape(check.detail))
            for check in result.checks
        ),
    )


def _figures(result: Result) -> str:
    plain = {name: value for name, value in result.figures.items() if not isinstance(value, list)}
    failed = ((f"failed: {reason}", count) for reason, count in result.failures.most_common())
    rows = [*plain.items(), *failed]
    return _table(("figure", "value"), ((escape(name), escape(cell(v))) for name, v in rows))


def _faults(faults: Sequence[InjectedFault], moments: Sequence[Moment]) -> Iterable[str]:
    if not faults:
        return ()
    rows = (
        (
            f"{cost.fault.at_s:.1f} s",
            escape(cost.fault.name),
            escape(cost.fault.part),
            escape(cost.fault.note),
            str(cost.calls_lost),
            str(cost.calls_failed),
            cell(cost.worst_gap_ms),
            cell(cost.frames_lost_percent),
        )
        for cost in costs_of(faults, moments)
    )
    head = ("at", "fault", "part", "", "calls lost", "calls failed", "worst gap, ms", "loss, %")
    return ("<h2>Faults</h2>", _table(head, rows))


def _plots(moments: Sequence[Moment], faults: Sequence[InjectedFault]) -> Iterable[str]:
    seconds = [moment.tally.second for moment in moments]
    for plot in plots_of(moments):
        yield f"<h3>{escape(plot.title)}</h3>"
        yield draw(plot, seconds, faults)


def _text(title: str, text: str) -> Iterable[str]:
    return (f"<h2>{title}</h2><pre>{escape(text)}</pre>",) if text else ()


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table; cells are HTML already."""
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _mark(*, passed: bool) -> str:
    return '<span class="ok">ok</span>' if passed else '<span class="failed">failed</span>'
