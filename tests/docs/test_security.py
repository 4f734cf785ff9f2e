"""docs/security.md: its promises name tests that exist, its table is that of the rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fuzz.rows import ROWS
from tests.fuzz.table import PAGE, rendered

ROOT = PAGE.parents[1]
TEXT = PAGE.read_text()
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises() -> list[str]:
    """The lines of the table of promises."""
    section = TEXT.partition("## What is promised\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][1:]


def test_every_promise_names_a_test() -> None:
    """A promise that nothing holds is none."""
    assert len(promises()) > 15
    for line in promises():
        assert _TEST.search(line.rpartition(" | ")[2]), line


@pytest.mark.parametrize(("path", "test"), sorted(set(_TEST.findall(TEXT))))
def test_the_named_test_exists(path: str, test: str) -> None:
    """By its file and its name."""
    source = (ROOT / path).read_text()
    assert re.search(rf"^(async )?def {test}\(", source, re.MULTILINE)


def test_the_table_is_that_of_the_rows() -> None:
    """Every parser in the list stands in the page as it is (`python -m tests.fuzz.table`)."""
    assert rendered(TEXT) == TEXT
    for row in ROWS.values():
        assert Path(ROOT / row.where).is_file(), row.where
