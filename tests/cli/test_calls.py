"""`trunkline calls …` against the API of a real store, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.calls.wheres import moment, where
from cli.reach import CliError
from records.store.store import Store
from tests.records.api.kit import KEY, OPERATOR, VIEWER, serving
from tests.records.kit import Teller
from trunkline.v1 import record_pb2 as pb


@dataclass
class Desk:
    """A store with a call in it, and the command."""

    url: str
    store: Store
    teller: Teller

    async def run(self, *arguments: str, token: str = OPERATOR) -> tuple[int, str, str]:
        """Exit status, stdout, stderr."""
        process = await self.start(*arguments, token=token)
        out, error = await process.communicate()
        return process.returncode or 0, out.decode(), error.decode()

    async def start(self, *arguments: str, token: str = OPERATOR) -> asyncio.subprocess.Process:
        """The command, still running."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments),
            env={
                **os.environ,
                "TRUNKLINE_RECORDS_URL": self.url,
                "TRUNKLINE_ADMIN_TOKEN": token,
                "COLUMNS": "160",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = Store(f"sqlite:///{tmp_path}/records.db")
    store.migrate()
    teller = Teller()
    store.write(teller.whole_call())
    async with serving(store) as api:
        yield Desk(api.url, store, teller)
    store.close()


async def test_show_answers_in_one_screen(desk: Desk) -> None:
    """The cause first, with the event that says so; whose call it was, media, turns; 40 lines."""
    status, out, error = await desk.run("calls", "show", desk.teller.call_id)
    assert (status, error) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{desk.teller.call_id}  ended")
    assert "The caller ended it." in lines[0]
    assert lines[1].startswith("A tool hung.")
    assert "transceiver-1-a #12" in lines[2]
    assert len(lines) <= 40
    for word in ("acme, k1", "greeter@7", "198.51.100.0/24", "from caller", "2.0 %", "interrupted"):
        assert word in out, word


async def test_list_finds_calls(desk: Desk) -> None:
    """By what they were; ids are whole; a page that is empty says so."""
    call_id = desk.teller.call_id
    for found in (["--where", "v2v_p95>0.8s"], ["--text", "parcel"], ["--where", "prompt=greeter"]):
        status, out, _ = await desk.run("calls", "list", *found)
        assert (status, call_id in out) == (0, True), found
    assert "no call" in (await desk.run("calls", "list", "--live"))[1]
    assert "no call" in (await desk.run("calls", "list", "--since", "1m"))[1]
    status, out, _ = await desk.run("--json", "calls", "list")
    assert json.loads(out)["calls"][0]["call_id"] == call_id


async def test_timeline_and_diff(desk: Desk) -> None:
    """Every event on a line with its number; two calls, their differences by name."""
    other = Teller()
    desk.store.write(other.whole_call()[:8])
    _, out, _ = await desk.run("calls", "timeline", desk.teller.call_id)
    assert len(out.splitlines()) >= 16
    assert '"Where is my parcel?"' in out
    _, out, _ = await desk.run("calls", "timeline", desk.teller.call_id, "--kind", "gap")
    assert "length_ms=140" in out
    status, out, _ = await desk.run("calls", "diff", desk.teller.call_id, other.call_id)
    assert status == 0
    assert "answer p95, ms" in out


async def test_tail_ends_with_the_call(desk: Desk) -> None:
    """What comes meanwhile is printed once."""
    teller = Teller()
    desk.store.write([teller.tell(placed=pb.Placed(tenant="acme"))])
    process = await desk.start("--json", "calls", "tail", teller.call_id)
    assert process.stdout
    first = json.loads(await process.stdout.readline())
    ended = pb.Ended(reason=pb.END_REASON_HANGUP)
    desk.store.write([teller.tell(answered=pb.Answered()), teller.tell(ended=ended)])
    rest, _ = await process.communicate()
    kinds = [first["kind"], *(json.loads(line)["kind"] for line in rest.splitlines())]
    assert (process.returncode, kinds) == (0, ["placed", "answered", "ended"])


async def test_export_verify_erase(desk: Desk, tmp_path: Path) -> None:
    """Files in each format; a record that was changed is status 1; a viewer cannot erase."""
    call_id, out_file = desk.teller.call_id, tmp_path / "call"
    for form, word in (("json", b"parcel"), ("otlp", b"resourceSpans"), ("hep", b"HEP3")):
        status, _, error = await desk.run(
            "calls", "export", call_id, "--format", form, "--out", str(out_file)
        )
        assert (status, error, word in out_file.read_bytes()) == (0, "", True)
    assert (await desk.run("calls", "export", call_id, "--format", "rtcstats"))[1].startswith(
        "RTCStatsDump\n"
    )
    assert (await desk.run("calls", "verify", call_id))[0] == 0
    status, _, error = await desk.run("calls", "erase", call_id, "--yes", token=VIEWER)
    assert (status, "operator" in error) == (1, True)
    assert (await desk.run("calls", "erase", call_id, "--yes", token=KEY))[0] == 0
    assert "parcel" not in (await desk.run("calls", "timeline", call_id))[1]
    with desk.store.writing() as connection:
        connection.run("DELETE FROM events WHERE number = 3")
    status, out, error = await desk.run("calls", "verify", call_id)
    assert (status, "not whole" in error, "transceiver-1-a" in out) == (1, True, True)


async def test_what_goes_wrong_is_one_line(desk: Desk) -> None:
    """In the words of the server, or with what to look at."""
    for arguments, token, words in (
        (["calls", "show", "rtc_none"], OPERATOR, "no such call"),
        (["calls", "list"], "wrong-token-1234567", "Authorization"),
        (["calls", "list", "--where", "modell=a"], OPERATOR, "modell"),
        (["calls", "list", "--where", "fast"], OPERATOR, "NAME=VALUE"),
        (["calls", "list", "--since", "soon"], OPERATOR, "no time"),
        (["calls", "--url", "http://127.0.0.1:9", "list"], OPERATOR, "records.api"),
    ):
        status, out, error = await desk.run(*arguments, token=token)
        assert (status, out, error.count("\n")) == (1, "", 1), error
        assert words in error


def test_filters_as_people_type_them() -> None:
    """Units, times ago, and what cannot be read."""
    now = datetime(2026, 11, 29, 2, 14, tzinfo=UTC)
    assert where("v2v_p95>1.5s") == ("v2v_p95_ms>1500", "")
    assert where("v2v_p95_ms > 800") == ("v2v_p95_ms>800", "")
    assert where("model = m-1") == ("model", "m-1")
    assert moment("2h", now) == "2026-11-29T00:14:00+00:00"
    assert moment("2026-11-28", now) == "2026-11-28T00:00:00+00:00"
    for bad in ("v2v_p95>1.2.3s", "model=", "=1"):
        with pytest.raises(CliError):
            where(bad)
