"""The options of every command: where to ask, who asks, and how to print."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console, RenderableType

from cli.reach import CliError, Reach

Why = Annotated[str, typer.Option("--why", help="Kept in the log beside your name.")]


@dataclass(frozen=True)
class Options:
    """Of one run of the command line."""

    reach: Reach
    as_json: bool

    def show(self, view: RenderableType, values: object) -> None:
        """Print for a person, or as one JSON value."""
        if self.as_json:
            print(json.dumps(values, default=plain))
        else:
            Console().print(view)


def options(context: typer.Context) -> Options:
    """Those of the command's context."""
    found = context.find_object(Options)
    if found is None:
        raise RuntimeError("the application sets them before any command")
    return found


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command; what goes wrong is one line on stderr and exit status 1."""
    try:
        asyncio.run(work)
    except CliError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(line: str) -> None:
    """Say it on stderr and end with status 1. Raises typer.Exit."""
    print(f"trunkline: {line}", file=sys.stderr)
    raise typer.Exit(1)


def warn(lines: Sequence[str]) -> None:
    """Say something on stderr and go on."""
    for line in lines:
        print(f"trunkline: {line}", file=sys.stderr)


def reason(why: str) -> str:
    """What goes into the log; who did not say why is named at least."""
    return why or f"trunkline command line, {getpass.getuser()}"


def plain(value: object) -> Any:
    """A message as JSON sees it."""
    if isinstance(value, Message):
        return MessageToDict(value, preserving_proto_field_name=True)
    raise TypeError(type(value).__name__)
