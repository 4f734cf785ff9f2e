"""Shows one line on a terminal while a scenario runs, and nothing in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.scenario_runs.metrics import loss_percent
from loadtest.scenario_runs.timeline import Moment


class LiveView:
    """A bar over the seconds of the run, the last second's figures beside it, faults above it."""

    def __init__(self, progress: Progress, seconds: float) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=seconds, seen="")

    def stage(self, text: str) -> None:
        """Name what is being done now."""
        self._progress.update(self._task, description=text)

    def moment(self, moment: Moment) -> None:
        """Show the figures of a second."""
        self._progress.update(self._task, completed=moment.tally.second + 1, seen=described(moment))

    def fault(self, name: str, at_s: float) -> None:
        """Leave a line that stays."""
        self._progress.console.print(f"{at_s:6.1f} s  {name}", highlight=False)


def described(moment: Moment) -> str:
    """The second in a line: calls, set-up, lateness, loss."""
    tally = moment.tally
    figures = (
        ("calls", tally.live),
        ("set-up p99 ms", tally.setup_ms.percentile(99)),
        ("late p99 ms", tally.lateness_ms.percentile(99)),
        ("loss %", loss_percent(tally)),
        ("refused", tally.refused or None),
        ("lost calls", tally.lost_calls or None),
    )
    return "  ".join(f"{name} {value:g}" for name, value in figures if value is not None)


@contextmanager
def live_view(seconds: float) -> Iterator[LiveView]:
    """Show the view for the length of the block; stdout stays free for the result."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[seen]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield LiveView(progress, seconds)
