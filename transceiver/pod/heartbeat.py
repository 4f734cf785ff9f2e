"""The heartbeats of a pod's processes, in memory that they share with their parent.

A process beats from its event loop, and says which node it is; the parent reads. Neither can wait
for the other, whatever state it is in.

    word 0   ms of the monotonic clock at the last beat, 0 before the first
    word 1   1 ‖ node ‖ epoch (1, 16 and 16 bits) while the process holds a lease, else 0
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time

from fleet.calls.owner import Owner

BEAT_INTERVAL_S = 0.25
_BYTES = 2 * 8
_HELD = 1 << 32


class Heartbeat:
    """One process's beat: ms of the monotonic clock, 0 before the first. `fd` is its memory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._words = memoryview(mmap.mmap(fd, _BYTES)).cast("Q")

    @classmethod
    def create(cls) -> Heartbeat:
        """New memory, with no beat in it. Raises OSError."""
        fd = os.memfd_create("trunkline-heartbeat")
        try:
            os.ftruncate(fd, _BYTES)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def beat_ms(self) -> int:
        """When it beat last."""
        return self._words[0]

    @property
    def owner(self) -> Owner | None:
        """Which node the process is; None while it holds no lease."""
        held = self._words[1]
        return Owner(held >> 16 & 0xFFFF, held & 0xFFFF) if held else None

    @owner.setter
    def owner(self, owner: Owner | None) -> None:
        self._words[1] = 0 if owner is None else _HELD | owner.sender

    def clear(self) -> None:
        """As before the first beat."""
        self._words[0] = self._words[1] = 0

    def close(self) -> None:
        """Let the descriptor go, once; who has mapped the memory keeps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    async def run(self) -> None:
        """Beat while the event loop comes round, until cancelled."""
        while True:
            self._words[0] = int(time.monotonic() * 1000)
            await asyncio.sleep(BEAT_INTERVAL_S)
