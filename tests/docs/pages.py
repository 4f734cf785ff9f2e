"""All documents, and what can be found in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)

PAGES = sorted(
    [
        *(ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")),
        ROOT / "AGENTS.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        ROOT / "library" / "README.md",
    ]
)
"""The changelog is not here: it names what there was."""


def name(page: Path) -> str:
    """How a test is called after a page."""
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text)


def blocks(text: str, *languages: str) -> Iterator[str]:
    """The blocks of code in these languages, with the indentation of a list taken off."""
    for indent, language, block in FENCE.findall(text):
        if language in languages:
            yield re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)


def ticked(text: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def commands(text: str) -> Iterator[str]:
    """What follows `$ ` in the blocks of consoles, lines joined, without comments."""
    for block in blocks(text, "console"):
        joined = re.sub(r"\\\n\s*", " ", block)
        for line in joined.splitlines():
            if line.startswith("$ "):
                yield re.sub(r"\s+#.*$", "", line[2:]).strip()
