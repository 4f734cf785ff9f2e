"""A loop that goes on whatever one of its turns raises.

A process that serves calls has loops beside them: they look after workers, follow a directory, say
whether it is well. What raises in one of these (no descriptor, no memory, something that nobody
thought of) must not end the calls.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fleet.backoff import Backoff, Pace
from fleet.errors import StartupError

PACE = Pace(first_s=0.1, longest_s=5.0)
STEADY_S = 10.0


async def keep_going(
    loop: Callable[[], Awaitable[None]], on_fault: Callable[[Exception], None]
) -> None:
    """Run `loop` until it returns or is cancelled; begin it again whenever it raises.

    A StartupError passes: it says that the process is not to be.
    """
    backoff = Backoff(PACE, STEADY_S)
    while True:
        began_s = time.monotonic()
        try:
            return await loop()
        except StartupError:
            raise
        except Exception as error:
            on_fault(error)
        await asyncio.sleep(backoff.after(time.monotonic() - began_s))
