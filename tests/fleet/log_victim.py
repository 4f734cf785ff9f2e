"""A process that logs to a stderr that nobody reads, or to a full disk, and goes on all the same.

It says on stdout how many turns its loop made in between, and what it counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import structlog

from fleet import logs
from trunkline.process import shell

LINES = 20_000  # several times the queue, and far beyond a pipe's 64 KiB
log = structlog.get_logger(__name__)


async def run(stop: asyncio.Event) -> None:
    """Log until every line had its turn, then say so and wait for the end."""
    for number in range(LINES):
        log.info(f"kind_{number % 400}", number=number, text="x" * 100)
        if not number % 100:
            logging.getLogger("library").warning("something %d", number)
            await asyncio.sleep(0)
    sys.stdout.write(json.dumps({"turns": LINES, **logs.counts()}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    log.info("leaving")


if __name__ == "__main__":
    logs.configure("info", "json", process="victim")
    sys.exit(shell.run(run))
