"""The relay's pages say what the code does: settings with their defaults, counters with a row."""

from __future__ import annotations

import re

import pytest

from fleet.usage import variable
from relay.settings import RelaySettings
from relay.shared.counters import Counter
from tests.pages import DOCS, anchors, dead_links, rows, settings_rows


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    """Variable, default, and a reason that is not empty; in the order of `--help`."""
    table = rows("relay.md", "## Settings")
    assert [row[:2] for row in table] == settings_rows(RelaySettings)
    assert all(len(row) == 3 and row[2] for row in table)


def test_every_drop_counter_has_a_row() -> None:
    """Each reason stands once, with what happened and what to do; no row is left of a dead one."""
    table = rows("operations/relay-drops.md")
    counted = [c.name.lower() for c in Counter if c.name.startswith("DROP_")]
    overflow = [c.name.lower() for c in Counter if c.name.endswith("QUEUE_OVERFLOW")]
    assert sorted(row[0].strip("`") for row in table) == sorted(counted + overflow)
    assert all(len(row) == 3 and row[1] and row[2] for row in table)


def test_variables_named_in_the_drops_page_exist() -> None:
    """Advice to change a setting names one that there is."""
    named = set(
        re.findall(r"TRUNKLINE_RELAY_\w+", (DOCS / "operations/relay-drops.md").read_text())
    )
    known = {variable(RelaySettings, name) for name in RelaySettings.model_fields}
    assert named <= known
    assert len(named) > 5


@pytest.mark.parametrize("page", ["relay.md", "operations/relay-drops.md"])
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    """Every relative link is a file, and its anchor a heading there."""
    assert not list(dead_links(page))


def test_anchors_are_those_of_github() -> None:
    """Lower case, hyphens for spaces, no punctuation; lines that are no headings make none."""
    assert anchors("# The relay\ntext # no\n### Keys, `a` call") == {"the-relay", "keys-a-call"}
