"""`python -m loadtest.siege.attackers`: all attackers, in one process that steps back for others.

    stdin    a map of the stand, then a line for each stretch: the names of its attacks, as JSON
    stdout   the port of the hostile backend; after each stretch, what there was to note

In a stretch without attacks it spins, as long in each moment as the attacks before it took of a
core: what is measured then differs from an attack by the attack alone. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from fleet.ending import ending
from loadtest.live.speaking import vocabulary
from loadtest.siege.attackers import ATTACKS
from loadtest.siege.attackers.backend import hostile_backend
from loadtest.siege.ground import Ground, Map
from loadtest.siege.notes import Notes
from loadtest.siege.stepping_back import spin, step_back


async def main() -> None:
    """Serve, read the map, attack as told."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with hostile_backend() as port:
        print(port, flush=True)
        if not (line := await reader.readline()):
            return
        ground, share = Ground(Map.from_line(line)), 0.0
        line = await reader.readline()
        while line:
            names = json.loads(line)
            began = time.process_time(), time.monotonic()
            line = await _stretch(ground, names, share, reader)
            taken = (time.process_time() - began[0]) / (time.monotonic() - began[1])
            share = taken if names else share
            print(Notes.of(ground, taken).to_line(), flush=True)


async def _stretch(
    ground: Ground, names: list[str], share: float, reader: asyncio.StreamReader
) -> bytes:
    """Attack until the next line comes, and return it."""
    async with ending() as running:
        running += [asyncio.create_task(ATTACKS[name].go(ground)) for name in names]
        running.append(asyncio.create_task(spin(0.0 if names else share)))
        running.append(following := asyncio.create_task(reader.readline()))
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # an attacker that broke is our mistake, not the defender's
        return following.result()


if __name__ == "__main__":
    vocabulary()  # what callers say takes a second to encode, which is no attack's
    step_back()
    asyncio.run(main())
