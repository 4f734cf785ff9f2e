"""Reading the documentation, for tests that hold it to the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic_core import PydanticUndefined

from fleet.settings import ProcessSettings
from fleet.usage import variable

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """The cells of the table rows that begin with a word in backticks, below `heading`.

    With a heading, up to the next one; without, of the whole page.
    """
    text = (DOCS / page).read_text()
    if heading:
        text = re.split(r"^#", text[text.index(heading) + len(heading) :], flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def settings_rows(kind: type[ProcessSettings]) -> list[list[str]]:
    """Variable and default of every setting, as a page writes them, in the order of `--help`."""
    return [
        [f"`{variable(kind, name).removeprefix('TRUNKLINE_')}`", default(kind, name)]
        for name in kind.model_fields
    ]


def default(kind: type[ProcessSettings], name: str) -> str:
    field = kind.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return str(extra["default"])
    if field.default is PydanticUndefined:
        return "required"
    return f"`{plain(field.default)}`"


def plain(value: object) -> str:
    """A value as a person sets it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def dead_links(page: str) -> Iterator[str]:
    """Relative links of a page that are no file, or whose anchor is no heading there."""
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", (DOCS / page).read_text()):
        file = (DOCS / page).parent / target
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            yield f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
