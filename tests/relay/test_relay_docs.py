"""The relay's pages say what the code does: settings with their defaults, counters with a row."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from fleet.usage import variable
from relay.counters import Counter
from relay.settings import RelaySettings

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """The cells of all table rows of a page that begin with a word in backticks."""
    text = (DOCS / page).read_text()
    text = text[text.index(heading) :]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def default(name: str) -> str:
    """The default as the page writes it."""
    field = RelaySettings.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return str(extra["default"])
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    """Variable, default, and a reason that is not empty; in the order of `--help`."""
    table = rows("relay.md", "## Settings")
    expected = [
        [f"`{variable(RelaySettings, name).removeprefix('TRUNKLINE_')}`", default(name)]
        for name in RelaySettings.model_fields
    ]
    assert [row[:2] for row in table] == expected
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


def test_links_of_the_pages_lead_somewhere() -> None:
    """Every relative link is a file, and its anchor a heading there."""
    for page in (DOCS / "relay.md", DOCS / "operations/relay-drops.md"):
        for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", page.read_text()):
            file = page.parent / target
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(file.read_text()), f"{page.name}: {target}#{anchor}"


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
