"""The frame of every `__main__`: event loop, signals, one clear line when a start fails."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from types import FrameType

from trunkline.process.errors import StartupError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Main = Callable[[asyncio.Event], Awaitable[None]]


def run(main: Main) -> int:
    """Run `main(stop)` and return the exit status: 0, or 1 when it could not start.

    SIGTERM and SIGINT set `stop`, every time they come, and `main` is expected to end then. They
    are ignored afterwards, because the process ends next and its status is settled. A
    StartupError or a taken address (also as all there is in an exception group) becomes one line on
    stderr. Every other exception is a bug, and is raised.
    """
    try:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            runner.run(_until_stopped(main))
    except Exception as error:
        reasons = [_reason(leaf) for leaf in _leaves(error)]
        if not all(reasons):
            raise
        with suppress(OSError):  # nobody to tell: a full disk, a reader that is gone
            sys.stderr.write(f"cannot start: {reasons[0]}\n")
        return 1
    finally:
        # The interpreter puts Python's own handlers back to the default while it shuts down, where
        # a second signal would turn a clean exit into the status of a kill. Ignoring outlasts that.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    return 0


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # not made for this interpreter
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _until_stopped(main: Main) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        # The loop may be closed already: then there is nothing left to stop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    # Not `loop.add_signal_handler`, which restores the default as soon as the loop closes.
    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    await main(stop)


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _reason(error: Exception) -> str | None:
    if isinstance(error, StartupError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (error.strerror or "address already in use").strip()
    return None
