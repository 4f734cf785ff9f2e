"""`python -m loadtest.live`: one generator process. An order on stdin, tallies on stdout.

    stdin    one line: the order as JSON, then one line: the Unix time to start at
    stdout   `ready`, then one line of JSON a second

It ends when the order is done, or when its stdin is closed: a generator never outlives whoever
started it.
"""

from __future__ import annotations

import asyncio
import gc
import sys

import uvloop

from fleet.ending import ending
from loadtest.live.generator import Generator
from loadtest.live.order import Order
from loadtest.live.speaking import vocabulary
from loadtest.live.tally import Tally


def _tell(tally: Tally) -> None:
    print(tally.to_line(), flush=True)


async def _until_closed(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


async def main() -> None:
    """Read the order, say that it is ready, run it."""
    reader = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    order = Order.model_validate_json(await reader.readline())
    vocabulary()
    print("ready", flush=True)
    start_s = float(await reader.readline())
    gc.collect()
    gc.freeze()
    async with ending() as running:
        work = asyncio.create_task(Generator(order, start_s, _tell).run())
        running += [work, asyncio.create_task(_until_closed(reader))]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()


if __name__ == "__main__":
    uvloop.run(main())
