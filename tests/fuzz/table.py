"""The table of parsers in docs/security.md; `python -m tests.fuzz.table` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.row import Row
from tests.fuzz.rows import ROWS

PAGE = Path(__file__).parents[2] / "docs/security.md"
BEGIN = "<!-- Written by `python -m tests.fuzz.table`. -->\n"
END = "<!-- End of the table. -->\n"
HEAD = (
    "| what | parser | who reaches it | largest input | work in its length |"
    " what an error becomes |\n"
    "|---|---|---|---|---|---|\n"
)


def table() -> str:
    """The table as it stands in the page."""
    return HEAD + "".join(map(_line, ROWS.values()))


def _line(row: Row) -> str:
    work = f"{row.work}, at most {row.steps:,} instructions"
    cells = (row.name, f"`{row.where}`", row.who, f"{row.largest:,} bytes", work, row.becomes)
    return f"| {' | '.join(cells)} |\n"


def rendered(page: str) -> str:
    """The page with the table as it is now. Raises ValueError without its marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("the page has no place for the table")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
