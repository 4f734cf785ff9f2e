"""An author's own backend, loaded by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.own import NotLoadedError, loaded
from tests.backends.kit import TIMEOUT_S
from trunkline.backend import AudioFormat, Backend

FILE = '''
import neighbour
from trunkline.backend import AudioFormat, Backend

async def echo(call):
    """Of an author."""

class Agent:
    async def handle(self, call):
        """A method is as good."""

def plain(call):
    """Not async."""

agent = Agent()
tone = Backend(echo, "tone", (AudioFormat.PCM16_16000,))
number = neighbour.NUMBER
'''


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An author's file with a module beside it."""
    (tmp_path / "neighbour.py").write_text("NUMBER = 7\n")
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


def test_a_function_of_a_file(file: Path) -> None:
    """It is a backend of its name, in Opus."""
    backend = loaded(f"{file}:echo")
    assert (backend.name, backend.accepts) == ("echo", (AudioFormat.OPUS,))


def test_a_backend_of_a_file(file: Path) -> None:
    """It is taken as it is."""
    assert loaded(f"{file}:tone").accepts == (AudioFormat.PCM16_16000,)


def test_a_method_of_a_file(file: Path) -> None:
    """A name may have dots."""
    assert loaded(f"{file}:agent.handle").name == "handle"


def test_a_function_of_a_module() -> None:
    """Found as any import is."""
    assert loaded("backends.echo:echo").name == "echo"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "there is no missing in it; there is echo, tone"),
        ("plain", "plain is neither an async function nor a Backend"),
        ("number", "number is neither"),
        ("agent.missing", "there is no agent.missing in it"),
    ],
)
def test_a_name_that_is_no_backend(file: Path, name: str, why: str) -> None:
    """The line says what there is instead."""
    with pytest.raises(NotLoadedError, match=why):
        loaded(f"{file}:{name}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_package", "there is no package no_such_package"),
        ("def f(:", r"SyntaxError: .*"),
        ("x = 1\n1 / 0", r"ZeroDivisionError: .*mine.py:2\)"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 .*mine.py:2\)"),
    ],
)
def test_a_file_that_cannot_be_read(file: Path, text: str, why: str) -> None:
    """One line with the author's own line number, and no traceback."""
    file.write_text(text)
    with pytest.raises(NotLoadedError, match=why) as caught:
        loaded(f"{file}:echo")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "where", ["echo", ":echo", "mine.py:", "no_such_module:echo", "no.py:echo"]
)
def test_what_is_not_there(where: str) -> None:
    """Neither a form that is not understood nor a place that is not there is a traceback."""
    with pytest.raises(NotLoadedError):
        loaded(where)


def test_a_backend_made_of_another_type() -> None:
    """A Backend of no format is refused where it is made."""
    with pytest.raises(ValueError, match="at least one format"):
        Backend(lambda call: call, accepts=())  # type: ignore[arg-type, return-value]


def test_a_file_that_serves_by_itself(file: Path) -> None:
    """Its end is the end of the process, and no failure."""
    file.write_text("import sys\nsys.exit(0)")
    with pytest.raises(SystemExit) as ended:
        loaded(f"{file}:echo")
    assert ended.value.code == 0


def test_the_command(tmp_path: Path) -> None:
    """Exit status 1 and one line for what cannot be loaded; --help lists the variables."""
    line, failed = _run(f"{tmp_path}/no.py:echo")
    assert (failed, line) == (1, f"cannot load {tmp_path}/no.py:echo: there is no such file\n")
    shown, status = _run("--help")
    assert status == 0
    assert "TRUNKLINE_BACKEND_LISTEN" in shown


def _run(*arguments: str) -> tuple[str, int]:
    result = subprocess.run(
        [sys.executable, "-m", "backends.own", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return result.stdout + result.stderr, result.returncode
