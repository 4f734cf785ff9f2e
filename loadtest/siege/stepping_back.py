"""Attackers share the cores of this machine with those whom they attack, and must not take them.

They run at the lowest priority. The kernel may also share cores between sessions first and look at
priorities within one only (`autogroup`, sched(7)); so their session has the lowest, too.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

LOWEST = 19
PERIOD_S = 0.005
MOST = 0.95


def step_back() -> None:
    """Let every other process of the machine go first, for the rest of this one's life."""
    os.nice(LOWEST)
    with suppress(OSError):  # a kernel without it
        Path("/proc/self/autogroup").write_text(str(LOWEST))


async def spin(share: float) -> None:
    """Take so much of a core and do no harm with it, until cancelled."""
    busy_s = PERIOD_S * min(share, MOST)
    while True:
        began_s = time.thread_time()
        while time.thread_time() - began_s < busy_s:
            pass
        await asyncio.sleep(PERIOD_S - busy_s)
