"""What the documents say of the code is so: links, paths, variables, calls, commands, programs."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.__main__ import app as trunkline
from loadtest.__main__ import app as loadtest
from tests.docs.pages import PAGES, ROOT, blocks, commands, name, prose, ticked
from tests.pages import anchors
from trunkline.v1 import admin_pb2

each_page = pytest.mark.parametrize("page", PAGES, ids=name)
TOP = {path.name for path in ROOT.iterdir()}
SUFFIXES = (
    ".py",
    ".md",
    ".toml",
    ".proto",
    ".yaml",
    ".yml",
    ".js",
    ".json",
    ".wav",
    ".sdp",
    ".txt",
)
OUTPUTS = ("artifacts", "dist")
"""What commands write."""


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file or a folder, and its anchor is a heading there."""
    dead = []
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            dead.append(f"{target}#{anchor}")
    assert dead == []


@each_page
def test_paths_exist(page: Path) -> None:
    """What looks like a path of this repository is one."""
    assert list(lost_paths(page.read_text())) == []


def lost_paths(text: str) -> Iterator[str]:
    """Paths in backticks that are not there, from the root or below a folder of the same line."""
    for line in prose(text).splitlines():
        found = paths(line)
        folders = [path for path in found if path.endswith("/")]
        for path in found:
            if not any(list(ROOT.glob(folder + path)) for folder in ("", *folders)):
                yield path


def paths(line: str) -> list[str]:
    """What begins with a folder of the root, or is the name of a file."""
    words = [word for word in ticked(line) if re.fullmatch(r"[\w.*-][\w./*-]*", word)]
    return [word for word in words if is_path(word)]


def is_path(word: str) -> bool:
    first, slash, _ = word.partition("/")
    return first not in OUTPUTS and ((bool(slash) and first in TOP) or word.endswith(SUFFIXES))


def test_names_in_the_table_of_changes_stand_in_the_files_named() -> None:
    """Who opens the file of a row finds the name that the row speaks of."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## To change X, open Y")[1]
    rows = [line for line in table.split("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        files = [ROOT / path for path in paths(row) if (ROOT / path).is_file()]
        names = [word for word in ticked(row) if re.fullmatch(r"[A-Z][A-Za-z_]+", word)]
        assert all(any(name in file.read_text() for file in files) for name in names), row
        assert any(not path.startswith(("docs/", "tests/")) for path in paths(row)) or (
            "test_arrows" in row
        )


@each_page
def test_variables_exist(page: Path) -> None:
    """A variable that is named is read somewhere; `…_*` stands for several."""
    known = variables()
    for found, family in re.findall(r"(TRUNKLINE_[A-Z0-9_]*[A-Z0-9])(_\*)?", page.read_text()):
        assert any(one == found or (family and one.startswith(f"{found}_")) for one in known), found


def variables() -> set[str]:
    """Those of the settings, and those that the sources name."""
    from backends.settings import BackendSettings
    from fleet.usage import variable
    from records.api.settings import RecordsApiSettings
    from records.settings import RecordsSettings
    from relay.settings import RelaySettings
    from transceiver.settings import TransceiverSettings

    kinds = (
        *(RelaySettings, TransceiverSettings, BackendSettings),
        *(RecordsSettings, RecordsApiSettings),
    )
    named = {variable(kind, field) for kind in kinds for field in kind.model_fields}
    folders = ("launcher", "cli", "loadtest", "backends", "fleet", "library", "tests", "examples")
    files = (file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    literals = re.compile(r'"(?:export )?(TRUNKLINE_[A-Z0-9_]+)')
    named |= {found for file in files for found in literals.findall(file.read_text())}
    return named | _fields_of_backends()


def _fields_of_backends() -> set[str]:
    """Settings of the backends that ship: `backend_tools` is read as TRUNKLINE_BACKEND_TOOLS."""
    fields = re.compile(r"^    (backend_\w+):", re.MULTILINE)
    files = (ROOT / "backends").rglob("*.py")
    found = {field for file in files for field in fields.findall(file.read_text())}
    return {f"TRUNKLINE_{field.upper()}" for field in found}


SERVICES = {
    service.name: {method.name for method in service.methods}
    for service in admin_pb2.DESCRIPTOR.services_by_name.values()
}


@each_page
def test_calls_exist(page: Path) -> None:
    """A call that is named with its service is in the proto."""
    for service, method in re.findall(r"\b(\w+Admin)/(\w+)", page.read_text()):
        assert method in SERVICES[service], f"{service}/{method}"


@each_page
def test_bare_calls_are_named_with_their_service_too(page: Path) -> None:
    """Who reads `Stats` finds on the page whose call that is."""
    text = page.read_text()
    full = set(re.findall(r"\b\w+Admin/(\w+)", text))
    every = set().union(*SERVICES.values()) - {"Watch"}
    bare = {word for word in ticked(text) if word in every}
    assert bare <= full


@each_page
def test_commands_parse(page: Path) -> None:
    """Ours are accepted as they are written: modules, targets, commands and their options."""
    text = page.read_text()
    inline = [word for word in ticked(text) if word.startswith(OURS)]
    for command in [*commands(text), *inline]:
        for part in re.split(r"\s*(?:&&|\|(?!\w)|;)\s*", command):
            check(part)


OURS = ("python -m ", "make ", "trunkline ", "loadtest ", ".ci/", ".venv/bin/")


def check(command: str) -> None:
    """Raise if one of our commands would not be accepted."""
    words = [word for word in words_of(command) if not re.match(r"[A-Z_]+=", word)]
    match words:
        case [("python" | ".venv/bin/python"), "-m", "loadtest", *rest]:
            parse(loadtest, rest)
        case [("python" | ".venv/bin/python"), "-m", module, *_]:
            assert importlib.util.find_spec(module) or module in FROM_ELSEWHERE, module
        case ["loadtest", *rest]:
            parse(loadtest, rest)
        case ["trunkline", *rest]:
            parse(trunkline, rest)
        case ["make", *targets]:
            assert set(targets) <= make_targets(), command
        case [program, *_] if program.startswith("."):
            assert (ROOT / program).exists() or program.startswith(".venv/bin/"), program


FROM_ELSEWHERE = {"pip", "venv", "build"}


def words_of(command: str) -> list[str]:
    """The words, or none of a command of a shell that is no plain one."""
    try:
        return shlex.split(command.replace("…", ""), comments=True)
    except ValueError:
        return []


def parse(app: typer.Typer, arguments: list[str]) -> None:
    """Let the command line read the arguments and run nothing.

    With `--help` behind them, unknown commands and options are errors, and values are not looked
    at: a page may write N for a number.
    """
    done = CliRunner().invoke(app, [*arguments, "--help"])
    assert done.exit_code == 0, done.output


def make_targets() -> set[str]:
    """What the Makefile makes."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@each_page
def test_programs_compile(page: Path) -> None:
    """The Python of a page is Python; `await` at the top level may be a part of a program."""
    for block in blocks(page.read_text(), "python"):
        compile(block, name(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@each_page
def test_what_programs_import_of_ours_exists(page: Path) -> None:
    """A name that a program imports from our packages is there."""
    for block in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] in TOP
            ):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


def test_every_page_is_reached_from_the_readme() -> None:
    """No page is an orphan: links lead to it, page by page, from the README."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or not page.is_file():
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#:\s]+\.md)", page.read_text())
        waiting += [page.parent / link for link in links]
    lost = {name(page) for page in PAGES} - {name(page) for page in seen} - {"library/README.md"}
    assert not lost


def test_the_readme_is_one_screen() -> None:
    """A hundred lines at most, of which none is longer than a screen is wide."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 100
    assert all(len(line) <= 130 for line in lines if not line.startswith("|"))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`relay/uplink_gone.py`", "relay/uplink_gone.py"),
        ("`nobody.toml`", "nobody.toml"),
        ("`tests/relay/*_gone.py`", "tests/relay/*_gone.py"),
        ("`relay/worker/` has `crew.py`", "crew.py"),
    ],
)
def test_a_path_that_is_not_there_is_seen(text: str, wrong: str) -> None:
    """The test above can fail."""
    assert list(lost_paths(text)) == [wrong]


@pytest.mark.parametrize(
    "command",
    [
        "python -m relay_gone",
        "python -m loadtest speed",
        "python -m loadtest storm --fast",
        "make coffee",
        "trunkline dance",
        "trunkline --loud nodes",
    ],
)
def test_a_command_that_does_not_parse_is_seen(command: str) -> None:
    """Neither an unknown command nor an unknown option gets through."""
    with pytest.raises((AssertionError, ModuleNotFoundError)):
        check(command)
