"""`python -m launcher`: everything on one machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time

from launcher.backend_choice import BACKENDS, DEFAULT
from launcher.errors import StartupError
from launcher.stack import Stack, StackSettings
from launcher.table import banner

DESCRIPTION = """\
Starts Redis, a model backend, one relay, one transceiver with the console page and one recorder on
this machine, and ends them all on Ctrl-C. The record of calls is kept in artifacts/records.db.
"""
VARIABLES = """\
environment:
  REDIS_URL            use this Redis instead of a private one
  TRUNKLINE_*          any setting of any part; keys that are not given are made for this run. See
                       python -m relay --help, python -m transceiver --help,
                       python -m backends.voice --help, python -m backends.echo --help
"""


async def run(settings: StackSettings) -> None:
    """Run a stack until SIGINT or SIGTERM; a second one kills what has not ended yet."""
    started_at = time.monotonic()
    stack = Stack(settings)
    stopping = asyncio.Event()
    _on_signals(stack, stopping)
    lifetime = asyncio.create_task(_serve(stack, started_at))
    interrupted = asyncio.create_task(stopping.wait())
    await asyncio.wait({lifetime, interrupted}, return_when=asyncio.FIRST_COMPLETED)
    interrupted.cancel()
    if stopping.is_set() and not lifetime.done():
        lifetime.cancel()
    try:
        await lifetime
    except asyncio.CancelledError:
        stack.log.say("all parts have ended")


async def _serve(stack: Stack, started_at: float) -> None:
    async with stack:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(banner(stack, time.monotonic() - started_at, coloured), flush=True)
        await asyncio.Event().wait()


def _on_signals(stack: Stack, stopping: asyncio.Event) -> None:
    def stop() -> None:
        if stopping.is_set():
            stack.kill()
        else:
            stack.log.say("ending all parts")
            stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m launcher",
        description=DESCRIPTION,
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--backend",
        default=DEFAULT,
        help=f"who answers: {', '.join(BACKENDS)}, or your own as FILE.py:NAME or MODULE:NAME "
        f"(default: {DEFAULT})",
    )
    return parser


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 after Ctrl-C, 1 when a part could not start.

    Raises SystemExit: 0 after `--help`, 2 for wrong usage.
    """
    backend = _parser().parse_args(arguments).backend
    try:
        asyncio.run(run(StackSettings.from_environment(os.environ, backend)))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
