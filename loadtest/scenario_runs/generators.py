"""Generator processes: started with an order, read line by line, ended with their run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from launcher import StartupError
from launcher.variables import without
from loadtest.live.order import Order
from loadtest.live.tally import Tally

READY_TIMEOUT_S = 60.0
MAX_LINE_BYTES = 1 << 20
END_TIMEOUT_S = 10.0


class GeneratorProcess:
    """One `python -m loadtest.live` that has its order and waits for the time to start."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def begin(self, start_s: float) -> None:
        """Tell the Unix time to start at."""
        self._write(f"{start_s!r}\n".encode())

    async def tallies(self) -> AsyncIterator[Tally]:
        """What it tells, to its end. Raises StartupError when it ends otherwise than done."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        while line := await self._process.stdout.readline():
            yield Tally.from_line(line.decode())
        status = await self._process.wait()
        if status:
            raise StartupError(f"generator: exit status {status}")

    async def until_ready(self) -> None:
        """Wait until it has read its order. Raises StartupError."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if line.strip() != b"ready":
            raise StartupError("generator: did not start")

    async def end(self) -> None:
        """Close its stdin, which ends it; kill it when that takes too long."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def order(self, order: Order) -> None:
        """Hand over its order: through a pipe, since it holds a key."""
        self._write(order.model_dump_json().encode() + b"\n")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(data)


@asynccontextmanager
async def generators(orders: Sequence[Order]) -> AsyncIterator[list[GeneratorProcess]]:
    """One process for each order, ready, for the length of the block. Raises StartupError."""
    async with AsyncExitStack() as stack:
        started = []
        for order in orders:
            generator = GeneratorProcess(await _spawn())
            stack.push_async_callback(generator.end)
            generator.order(order)
            started.append(generator)
        for generator in started:
            await generator.until_ready()
        yield started


async def _spawn() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtest.live",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=without(os.environ),
        limit=MAX_LINE_BYTES,
    )
