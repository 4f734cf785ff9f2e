"""`python -m loadtest measured`: run benchmarks, keep what they print, write the page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from loadtest.measured.machine import ROOT, commit, load, machine, today
from loadtest.measured.page import Records, page, with_table
from loadtest.measured.record import DIRECTORY, Measurement, RecordError, keep, read
from loadtest.measured.table import BY_NAME, SOURCES, Source

PAGE = ROOT / "docs" / "measured.md"
README = ROOT / "README.md"
USAGE_ERROR = 2

measured = typer.Typer(
    help="The measurements that the documentation shows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Into = Annotated[Path, typer.Option(help="Where the results are kept.")]


@measured.command("list")
def list_command() -> None:
    """Show the name and the command of each measurement."""
    width = max(map(len, BY_NAME))
    for source in SOURCES:
        by_hand = "  (by hand)" if source.by_hand else ""
        print(f"{source.name:<{width}}  {source.command}{by_hand}")


@measured.command("run")
def run_command(
    names: Annotated[list[str], typer.Argument(help="Names of `measured list`.")],
    into: Into = DIRECTORY,
) -> None:
    """Measure these, keep the results, and write the page. Exit status 1 if one gave no result."""
    chosen = [_chosen(name) for name in names]
    failed = [source.name for source in chosen if not _measure(source, into)]
    if into == DIRECTORY:
        write()
    if failed:
        print(f"no result: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(1)


@measured.command("render")
def render_command() -> None:
    """Write docs/measured.md and the README's table from the results that are kept."""
    try:
        write()
    except RecordError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def write() -> None:
    """Write both. Raises RecordError."""
    records = kept()
    PAGE.write_text(page(records))
    README.write_text(with_table(README.read_text(), records))


def kept(directory: Path = DIRECTORY) -> Records:
    """The measurements of every command. Raises RecordError."""
    return {source.name: read(source.name, directory) for source in SOURCES}


def _chosen(name: str) -> Source:
    source = BY_NAME.get(name)
    if source is None or not source.arguments:
        raise typer.BadParameter(f"{name} is none that a command measures; see `measured list`")
    return source


def _measure(source: Source, into: Path) -> bool:
    """Run one command with its output on the terminal; whether it gave a result to keep."""
    print(f"{source.command} --json", flush=True)
    busy = load()
    command = (sys.executable, "-m", "loadtest", *source.arguments, "--json")
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    result = printed(done.stdout)
    if result is None:
        return False
    keep(source.name, _measurement(source, result, busy), into)
    return True


def _measurement(source: Source, result: Mapping[str, Any], busy: float) -> Measurement:
    return Measurement(
        date=today(),
        commit=commit(),
        machine=machine(),
        command=source.command,
        load=busy,
        result=result,
    )


def printed(output: str) -> Mapping[str, Any] | None:
    """The object in the last line, unless it tells of an error or is none."""
    try:
        found = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    usable = isinstance(found, dict) and "checks" in found and "error" not in found
    return found if usable else None
