"""Imported first by every command: a package that is missing is one line, and says what has it.

A command is there as soon as `trunkline-server` is installed; what it needs comes with its extra.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

DISTRIBUTION = "trunkline-server"
# The extra of each command: `python -m NAME`, and the script `trunkline`.
EXTRAS = {
    "relay": "relay",
    "transceiver": "transceiver",
    "records": "records",
    "trunkline": "cli",
    "cli": "cli",
    "launcher": "launcher",
    "loadtest": "loadtest",
    "backends.echo": "backend",
    "backends.own": "backend",
    "backends.voice": "voice",
    "backends.openai_pipeline": "openai",
    "backends.openai_realtime": "openai",
}


def advice(command: str, package: str) -> str:
    """What to install for a command that lacks a package, in one line."""
    extra = f"{DISTRIBUTION}[{EXTRAS[command]}]"
    checkout = f"pip install ./library '.[{EXTRAS[command]}]'"
    return f"{command} needs the package {package}: install {extra} (in a checkout: {checkout})"


def _command() -> str:
    told = sys.orig_argv
    return told[told.index("-m") + 1] if "-m" in told[:-1] else Path(sys.argv[0]).name


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and _command() in EXTRAS:
        sys.stderr.write(advice(_command(), missing) + "\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _hook
