"""What happens at the bounds of the API, and when its store is away."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from records.api.problem import PROBLEMS, Problem
from records.api.reader import MAX_WAITING, Reader
from records.store.store import Store
from tests.pages import DOCS
from tests.records.api.kit import serving


async def test_a_store_that_is_away_is_a_503(tmp_path: Path) -> None:
    """With a time to come back, and no word of where it is."""
    store = Store(f"sqlite:///{tmp_path}/no/records.db")  # nobody made the schema
    async with serving(store) as api:
        status, problem = await api.get("/v1/calls")
    assert (status, problem["code"]) == (503, "store_unavailable")
    assert str(tmp_path) not in str(problem)


async def test_not_too_many_wait_for_the_store(tmp_path: Path) -> None:
    """Who comes then is told at once, and those who wait are answered."""
    store = Store(f"sqlite:///{tmp_path}/records.db")
    store.migrate()
    reader, free = Reader(store), threading.Event()
    try:
        waiting = [
            asyncio.ensure_future(reader.ask(lambda _: free.wait(30))) for _ in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        try:
            await reader.ask(lambda _: None)
        except Problem as problem:
            assert problem.code == "busy"
            assert "Retry-After" in problem.headers
        else:
            raise AssertionError("it was asked")
        free.set()
        assert all(await asyncio.gather(*waiting))
        assert await reader.ask(lambda _: "again") == "again"
    finally:
        free.set()
        reader.close()
        store.close()


def test_every_problem_has_a_row_in_the_docs() -> None:
    """By its code and status."""
    page = (DOCS / "records.md").read_text()
    for code, (status, _) in PROBLEMS.items():
        assert f"| `{code}` | {status} |" in page, code
