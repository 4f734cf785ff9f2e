"""`loadtest records`: events a second into SQLite and Postgres, and what asking takes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from launcher import StartupError
from loadtest.benchmark import Check, Result
from loadtest.records_bench import measure
from loadtest.report import print_result
from loadtest.stand.postgres import PostgresServer
from records.store.store import Store

MIN_EVENTS_PER_S = {"sqlite": 5_000, "postgres": 10_000}
MAX_MS = 200.0


def records_command(
    calls: Annotated[int, typer.Option(min=1, max=2_000_000, help="Calls to make up.")] = 3000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Made-up calls go into SQLite and into a Postgres, and are asked for."""
    try:
        result = run(calls)
    except StartupError as error:
        print(json.dumps({"scenario": "records", "passed": False, "error": str(error)}))
        raise typer.Exit(1) from None
    print_result("records", result, Console())
    if as_json:
        print(json.dumps(result.as_json("records")))
    raise typer.Exit(0 if result.passed else 1)


def run(calls: int) -> Result:
    """Measure both stores on one core. Raises StartupError when there is no Postgres."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="records-") as directory:
        result.figures["sqlite"] = _measured(f"sqlite:///{directory}/records.db", calls)
        with _postgres(Path(directory)) as url:
            result.figures["postgres"] = _measured(url, calls)
    for name, least in MIN_EVENTS_PER_S.items():
        found: Any = result.figures[name]
        rate, slowest = found["events_per_s"], max(found["list_ms_p95"], found["show_ms_p95"])
        result.checks += [
            Check(f"{name} stores {least} events a second", rate >= least, f"{rate} a second"),
            Check(f"{name} answers within {MAX_MS:g} ms", slowest <= MAX_MS, f"p95 {slowest} ms"),
        ]
    return result


def _measured(url: str, calls: int) -> dict[str, Any]:
    store = Store(url)
    store.migrate()
    try:
        with _one_core():
            written = measure.write(store, calls, progress=lambda _events: None)
        answers = measure.ask(store, calls)
        return {
            **written.shown(),
            **answers,
            "bytes_a_call_minute": measure.bytes_a_minute(store),
        }
    finally:
        store.close()


@contextmanager
def _postgres(directory: Path) -> Iterator[str]:
    server = PostgresServer(directory / "postgres")
    server.create()
    server.start()
    try:
        yield server.make("records")
    finally:
        server.remove()


@contextmanager
def _one_core() -> Iterator[None]:
    """This process on one core; the database's own processes are where they were."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
