"""The process of the attackers, from where the siege is laid: started, told what to do, ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from launcher import StartupError
from launcher.variables import without
from loadtest.siege.ground import Map
from loadtest.siege.notes import Notes

ANSWER_TIMEOUT_S = 30.0
"""Attackers leave before they answer, and step back for others all the while."""


class Camp:
    """`port` is where the hostile backend listens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.port = 0
        self._process = process
        self._begun = False

    async def until_ready(self) -> None:
        """Wait until it serves. Raises StartupError."""
        self.port = int(await self._answer())

    def show(self, place: Map) -> None:
        """Hand over the map: through a pipe, since it has a key and a password."""
        self._write(place.to_line())

    async def attack(self, names: Sequence[str]) -> Notes:
        """Begin these attacks, or none; what was noted to the end of those before.

        Raises StartupError when an attacker broke.
        """
        self._write(json.dumps(list(names)))
        notes = Notes.from_line(await self._answer()) if self._begun else Notes()
        self._begun = True
        return notes

    async def end(self) -> None:
        """Close its stdin, which ends it; kill it when that takes too long."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _answer(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise StartupError("attackers: one of them broke")
        return line

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(line.encode() + b"\n")


@asynccontextmanager
async def camp() -> AsyncIterator[Camp]:
    """The attackers, ready, for the length of the block. Raises StartupError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.siege.attackers"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=without(os.environ),
        limit=1 << 20,
        start_new_session=True,  # a priority of its own, see `stepping_back`
    )
    made = Camp(process)
    try:
        await made.until_ready()
        yield made
    finally:
        await made.end()
