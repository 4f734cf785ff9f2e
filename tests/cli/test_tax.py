"""`trunkline tax` against the API of a real store, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cli.calls.tax_view import money
from records.store.store import Store
from tests.records.api.kit import KEY, OPERATOR, serving
from tests.records.kit import Teller

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    store = Store(f"sqlite:///{tmp_path}/records.db")
    store.migrate()
    store.write(Teller("rtc_one").whole_call())
    async with serving(store) as api:

        async def command(*arguments: str, token: str = OPERATOR) -> tuple[int, str, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli", *arguments),
                env={
                    **os.environ,
                    "TRUNKLINE_RECORDS_URL": api.url,
                    "TRUNKLINE_ADMIN_TOKEN": token,
                    "COLUMNS": "200",
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, error = await process.communicate()
            return process.returncode or 0, out.decode(), error.decode()

        yield command
    store.close()


async def test_the_table(run: Run) -> None:
    """Five layers, the sum, the share of the key, the offers, and what is not known."""
    status, out, error = await run("tax", "--by", "key", "--prompt", "greeter@7")
    assert (status, error) == (0, "")
    assert "1 call, 1.0 minutes, USD" in out
    for word in ("transport", "latency engineering", "scaling", "observability", "model", "bill"):
        assert f"\n{word} " in out
    (bill,) = (line for line in out.splitlines() if line.startswith("bill "))
    assert "0.2500" in bill
    assert "\nk1 " in out
    assert "GPT-Live" in out
    assert "Vapi" in out
    assert "transport: relay, nothing measures it" in out


async def test_json_of_one_call(run: Run) -> None:
    """What the API answered, with money as strings."""
    status, out, _ = await run("--json", "tax", "--call", "rtc_one")
    assert status == 0
    report = json.loads(out)
    assert (report["calls"], report["bill"]["paid"]) == (1, "0.25")


async def test_nothing_and_refusals(run: Run) -> None:
    """No call is said in words; a key and a wrong time are one line."""
    assert (await run("tax", "--key", "nobody"))[1].startswith("no call: the tax is of calls")
    status, _, error = await run("tax", token=KEY)
    assert (status, "for operators and viewers" in error) == (1, True)
    status, _, error = await run("tax", "--from", "soon")
    assert (status, error.startswith("trunkline: soon is no time")) == (1, True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),  # noqa: RUF001 - what is not known
        ("0", "0.00"),
        ("1234.5", "1,234.50"),
        ("0.05", "0.0500"),
        ("0.0000034", "0.0000034"),
    ],
)
def test_money_is_readable(value: str | None, shown: str) -> None:
    """Four digits, more for what is smaller."""
    assert money(value) == shown
