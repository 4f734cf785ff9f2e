"""A backend's settings, read from an environment by the standard library alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backends.settings import BackendSettings
from tests.backends.kit import TIMEOUT_S
from trunkline.backend import Address, Settings
from trunkline.backend.settings import SettingsError

PROGRAM = "from trunkline.backend import serve\nserve(None)"


def test_an_empty_environment() -> None:
    """Defaults are those of the backends that come with Trunkline; empty is unset."""
    shipped = BackendSettings()
    expected = Settings(Address.parse(str(shipped.backend_listen)), shipped.backend_drain_s)
    assert Settings.read({}) == Settings.read({"TRUNKLINE_BACKEND_DRAIN_S": ""}) == expected


def test_every_variable() -> None:
    """Each is read, and what else there is is left alone."""
    environ = {
        "TRUNKLINE_BACKEND_LISTEN": "[::1]:7000",
        "TRUNKLINE_BACKEND_DRAIN_S": "0",
        "TRUNKLINE_LOG_LEVEL": "Debug",
        "TRUNKLINE_BACKEND_HOLD_MS": "1500",
        "TRUNKLINE_BACKEND_OTHER": "x",
    }
    assert Settings.read(environ) == Settings(Address("::1", 7000), 0, "debug", 1500)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUNKLINE_BACKEND_LISTEN", "nonsense"),
        ("TRUNKLINE_BACKEND_LISTEN", "127.0.0.1:70000"),
        ("TRUNKLINE_BACKEND_DRAIN_S", "soon"),
        ("TRUNKLINE_BACKEND_DRAIN_S", "-1"),
        ("TRUNKLINE_BACKEND_DRAIN_S", "86401"),
        ("TRUNKLINE_BACKEND_DRAIN_S", "²"),
        ("TRUNKLINE_LOG_LEVEL", "loud"),
        ("TRUNKLINE_BACKEND_HOLD_MS", "120001"),
    ],
)
def test_a_bad_variable(name: str, value: str) -> None:
    """One line, which begins with its name."""
    with pytest.raises(SettingsError, match=rf"^{name}: .+$"):
        Settings.read({name: value})


def test_a_process_with_bad_variables() -> None:
    """A line for each on stderr and exit status 2, before anything is served."""
    variables = {"TRUNKLINE_BACKEND_LISTEN": "x", "TRUNKLINE_LOG_LEVEL": "loud\n"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 2
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == list(variables)
