"""What the user sees: progress during a run, and a table after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from loadtest.benchmark import Progress, Result


class ProgressBar:
    """Shows stage, calls done and calls failed; silent when stderr is no terminal."""

    def __init__(self, bar: RichProgress, calls: int) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=calls, failed=0)
        self._failed = 0

    def stage(self, text: str) -> None:
        """Name what is being done now."""
        self._bar.update(self._task, description=text)

    def call_done(self, ok: bool) -> None:
        """Count one more call."""
        self._failed += not ok
        self._bar.update(self._task, advance=1, failed=self._failed)


@contextmanager
def progress_bar(calls: int) -> Iterator[Progress]:
    """Show a bar on stderr for the length of the block; stdout stays free for the result."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    disabled = not console.is_terminal
    with RichProgress(*columns, console=console, transient=True, disable=disabled) as bar:
        yield ProgressBar(bar, calls)


def print_result(scenario: str, result: Result, console: Console) -> None:
    """Print figures, failures by reason and checks."""
    table = Table(title=f"loadtest {scenario}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in result.figures.items():
        table.add_row(name, cell(value))
    for reason, count in result.failures.most_common():
        table.add_row(f"failed: {reason}", str(count), style="red")
    console.print(table)
    for check in result.checks:
        mark = "[green]ok[/]  " if check.passed else "[red]FAIL[/]"
        console.print(f"{mark} {check.name}: {check.detail}", highlight=False)


def cell(value: object) -> str:
    """Write a figure: a mapping as `p50 12.3 · p99 20`, nothing as a dash."""
    if value is None:
        return "–"  # noqa: RUF001
    if isinstance(value, dict):
        return " · ".join(f"{name} {cell(part)}" for name, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
