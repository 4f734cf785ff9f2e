"""The recorder's page says what the code does."""

from __future__ import annotations

from typing import Any

from fleet.record.stream import RecordStream
from fleet.record.writer import RecordWriter
from records.recorder import Recorder
from records.settings import RecordsSettings
from tests.pages import dead_links, rows, settings_rows

PAGE = "operations/recorder.md"


def counted(heading: str) -> set[str]:
    """The words of a table of counters."""
    names = (name for row in rows(PAGE, heading) for name in row[0].split(","))
    return {name.strip().strip("`") for name in names}


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    """Variable, default, and a reason that is not empty; in the order of `--help`."""
    table = rows(PAGE, "## Settings")
    assert [row[:2] for row in table] == settings_rows(RecordsSettings)
    assert all(len(row) == 3 and row[2] for row in table)


async def test_every_counter_has_its_row() -> None:
    """Those of a recorder, and those of who writes."""
    unused: Any = None
    stream = RecordStream("redis://127.0.0.1:1/0", 0, unused)
    writer = RecordWriter(stream, "x")
    recorder = Recorder(unused, unused, unused)
    await stream.close()
    assert counted("## Counters") >= {*recorder.counters, "faults"} | {*writer.counters}


def test_links_lead_somewhere() -> None:
    """Every relative link is a file, and its anchor a heading there."""
    assert not list(dead_links(PAGE))
