"""What holds on every Python that we run on, 3.11.2 to 3.14, though one of them runs the tests."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]
SHIPPED = sorted(
    path
    for package in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]["packages"]
    for path in (ROOT / package).rglob("*.py")
) + sorted((ROOT / "library").rglob("*.py"))


def raised_in_except_star(tree: ast.AST) -> Iterator[int]:
    """Lines of `raise SOMETHING` within an `except*`."""
    for group in ast.walk(tree):
        if isinstance(group, ast.TryStar):
            for handler in group.handlers:
                yield from (
                    node.lineno
                    for node in ast.walk(handler)
                    if isinstance(node, ast.Raise) and node.exc is not None
                )


def test_nothing_is_raised_in_an_except_star() -> None:
    """Python before 3.11.4 wraps it into a group of its own, and who waits for it never sees it."""
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in SHIPPED
        for line in raised_in_except_star(ast.parse(path.read_text()))
    }
    assert SHIPPED
    assert found == set()


def test_the_check_finds_what_it_looks_for() -> None:
    """A new exception is found, passing on the group is not."""
    source = "try:\n    f()\nexcept* OSError as e:\n    {} \n"
    assert list(raised_in_except_star(ast.parse(source.format("raise X from None")))) == [4]
    assert not list(raised_in_except_star(ast.parse(source.format("raise"))))


@pytest.mark.parametrize("metadata", ["pyproject.toml", "library/pyproject.toml"])
def test_the_metadata_names_the_supported_pythons(metadata: str) -> None:
    """Classifiers and requires-python agree with what the Makefile looks for."""
    project = tomllib.loads((ROOT / metadata).read_text())["project"]
    named = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == SUPPORTED
    assert project["requires-python"] == f">={SUPPORTED[0]}"
    makefile = (ROOT / "Makefile").read_text()
    assert " ".join(f"python{version}" for version in SUPPORTED) in makefile
