"""The transceiver's page says what the code does: settings, times and bounds, links."""

from __future__ import annotations

import importlib

from tests.pages import dead_links, rows, settings_rows
from transceiver.settings import TransceiverSettings

PAGE = "transceiver.md"


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    """Variable, default, and a reason that is not empty; in the order of `--help`."""
    table = rows(PAGE, "## Settings")
    assert [row[:2] for row in table] == settings_rows(TransceiverSettings)
    assert all(len(row) == 3 and row[2] for row in table)


def test_times_and_bounds_are_those_of_the_code() -> None:
    """Every constant named exists, has the value told, and a reason."""
    table = rows(PAGE, "## Times and bounds")
    assert len(table) > 30
    for name, value, reason in table:
        module, _, constant = name.strip("`").rpartition(".")
        found = getattr(importlib.import_module(f"transceiver.{module}"), constant)
        assert f"`{found}`" == value, name
        assert reason, name


def test_links_lead_somewhere() -> None:
    """Every relative link is a file, and its anchor a heading there."""
    assert not list(dead_links(PAGE))
