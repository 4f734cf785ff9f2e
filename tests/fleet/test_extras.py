"""Every command says in one line what to install when a package is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fleet.extras import EXTRAS, advice

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
# A package that each command needs, and which its extra brings, or everybody's.
NEEDS = {
    "relay": "numpy",
    "transceiver": "aiohttp",
    "cli": "typer",
    "launcher": "grpc_health",
    "loadtest": "typer",
    "backends.echo": "pydantic",
    "backends.own": "structlog",
    "backends.voice": "numpy",
    "backends.openai_pipeline": "openai",
    "backends.openai_realtime": "openai",
}


def run(command: str, *options: str, **environment: str) -> tuple[int, str]:
    """The command in the checkout: its exit status and what it says."""
    result = subprocess.run(
        [sys.executable, *options, "-m", command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=ROOT,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize(("command", "package"), NEEDS.items())
def test_a_missing_package_is_one_line(command: str, package: str, tmp_path: Path) -> None:
    """Exit status 1 and no traceback; the line names the package and the extra."""
    absent = f"raise ModuleNotFoundError('not here', name={package!r})"
    (tmp_path / f"{package}.py").write_text(absent)
    assert run(command, PYTHONPATH=str(tmp_path)) == (1, advice(command, package) + "\n")


@pytest.mark.parametrize("command", NEEDS)
def test_a_checkout_without_any_installation(command: str) -> None:
    """The bare interpreter, which has none of our packages, says it as well."""
    status, output = run(command, "-S")
    assert status == 1
    assert re.fullmatch(rf"{command} needs the package \w+: install .*\n", output)


def test_every_extra_is_one() -> None:
    """What is advised can be installed, and every command of the distribution is known."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    assert set(project["scripts"]) <= set(EXTRAS)
    mains = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in ("relay", "transceiver", "cli", "launcher", "loadtest", "backends")
        for path in (ROOT / package).rglob("__main__.py")
    }
    assert {name for name in mains if name.count(".") <= name.startswith("backends.")} <= set(
        EXTRAS
    )


@pytest.mark.parametrize("command", sorted(set(EXTRAS) - {"trunkline"}))
def test_it_is_imported_first(command: str) -> None:
    """Before anything that may be missing."""
    place = ROOT / command.replace(".", "/")
    if not place.is_dir():
        file = place.with_suffix(".py")
    elif command == "launcher":  # which imports its parts before its `__main__`
        file = place / "__init__.py"
    else:
        file = place / "__main__.py"
    imports = re.findall(r"^(?:import|from) ([\w.]+)", file.read_text(), re.MULTILINE)
    assert next(name for name in imports if name != "__future__") == "fleet.extras"
