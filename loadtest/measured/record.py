"""The measurements of one command as a file: the newest first, and some earlier ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtest.measured.machine import ROOT

DIRECTORY = ROOT / "docs" / "measured"
MAX_KEPT = 8
"""Measurements of one command; older ones are in git."""


class RecordError(Exception):
    """A file of measurements cannot be used; `str()` is one line."""


class Measurement(BaseModel):
    """What one run gave, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: str
    commit: str
    machine: str
    command: str
    load: float | None = None
    """Processes that wanted a core in the minute before it."""
    result: Mapping[str, Any] | None = None
    """The object that `--json` printed; None when only a text was kept."""
    text: Mapping[str, str] = {}
    """What a person wrote down, by the name of the row."""


class Record(BaseModel):
    """All that is kept of one command."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measurements: Annotated[tuple[Measurement, ...], Field(max_length=MAX_KEPT)] = ()


def read(name: str, directory: Path = DIRECTORY) -> Record:
    """The measurements of a command; an empty record if there is none. Raises RecordError."""
    try:
        return Record.model_validate_json(path(name, directory).read_bytes())
    except FileNotFoundError:
        return Record()
    except (OSError, ValidationError) as error:
        raise RecordError(f"{path(name, directory).name}: {error}") from None


def keep(name: str, measurement: Measurement, directory: Path = DIRECTORY) -> None:
    """Put a measurement in front of the others; the oldest beyond `MAX_KEPT` goes."""
    kept = (measurement, *read(name, directory).measurements)[:MAX_KEPT]
    directory.mkdir(parents=True, exist_ok=True)
    plain = {"measurements": [one.model_dump(exclude_defaults=True) for one in kept]}
    path(name, directory).write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")


def path(name: str, directory: Path = DIRECTORY) -> Path:
    """The file of a command."""
    return directory / f"{name}.json"
