"""The heartbeats of a pod's processes, in memory that they share with their parent.

A process beats from its event loop; the parent reads. Neither can wait for the other, whatever
state it is in.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time

BEAT_INTERVAL_S = 0.25
_WORD_BYTES = 8


class Heartbeat:
    """One process's beat: ms of the monotonic clock, 0 before the first. `fd` is its memory."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._word = memoryview(mmap.mmap(fd, _WORD_BYTES)).cast("Q")

    @classmethod
    def create(cls) -> Heartbeat:
        """New memory, with no beat in it. Raises OSError."""
        fd = os.memfd_create("trunkline-heartbeat")
        try:
            os.ftruncate(fd, _WORD_BYTES)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    @property
    def beat_ms(self) -> int:
        """When it beat last."""
        return self._word[0]

    def clear(self) -> None:
        """As before the first beat."""
        self._word[0] = 0

    def close(self) -> None:
        """Let the descriptor go, once; who has mapped the memory keeps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    async def run(self) -> None:
        """Beat while the event loop comes round, until cancelled."""
        while True:
            self._word[0] = int(time.monotonic() * 1000)
            await asyncio.sleep(BEAT_INTERVAL_S)
