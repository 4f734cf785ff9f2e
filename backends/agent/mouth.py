"""The voice of one call: sound of any length goes in, frames go to the model link.

The transceiver plays what it gets at the rate at which it sounds, and reports now and then how far
it is (Playout). From that and the clock the mouth knows whether the caller still hears something,
and when the caller will have heard the last of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from backends.agent.models import BYTES_PER_MS
from backends.agent.played import FRAME_MS, Played, Run
from trunkline.backend.call import Call
from trunkline.backend.events import Playout

FRAME_S = FRAME_MS / 1000
FRAME_TICKS = 960  # 20 ms of the 48 kHz clock
Clock = Callable[[], float]


class Mouth:
    """Speaks on `call`. `quiet_at_s` is when the caller will have heard all that was sent."""

    def __init__(
        self,
        call: Call,
        on_frame: Callable[[str], None],
        clock: Clock = time.monotonic,
        bytes_per_ms: int = BYTES_PER_MS,
    ) -> None:
        self._call = call
        self._on_frame = on_frame  # told the item of every frame that was sent
        self._clock = clock
        self._played = Played()
        self._frame_bytes = FRAME_MS * bytes_per_ms
        self._rest = bytearray()  # less than a frame
        self._silencing = asyncio.Lock()  # held from a clear to its answer
        self.quiet_at_s = 0.0

    @property
    def speaking(self) -> bool:
        """Whether the caller hears something, as far as is known here."""
        return self._clock() < self.quiet_at_s

    @property
    def sent_frames(self) -> int:
        """Of the call, without those that were cleared."""
        return self._played.total

    def unfinished(self) -> dict[str, int]:
        """Of each item that is still being heard, how many milliseconds were, by the clock."""
        waiting = math.ceil(max(0.0, self.quiet_at_s - self._clock()) / FRAME_S)
        return self._played.unfinished(self._played.total - waiting)

    def newest(self, item_id: str) -> Run | None:
        """The frames of an item that were sent last."""
        return self._played.newest(item_id)

    def go_on_hearing(self, frames: int) -> None:
        """The caller hears so many frames that somebody else has sent."""
        self.quiet_at_s = self._clock() + frames * FRAME_S

    async def say(self, item_id: str, pcm: bytes) -> None:
        """Send sound of an item, all but less than a frame. Raises CallOver.

        While silence is made it waits: where frames are counted from is known only then.
        """
        async with self._silencing:
            self._rest += pcm
        while len(self._rest) >= self._frame_bytes:
            frame = bytes(self._rest[: self._frame_bytes])
            del self._rest[: self._frame_bytes]
            await self._send(item_id, frame)

    async def finish(self, item_id: str) -> None:
        """Send what is left, filled up with silence. Raises CallOver."""
        await self.say(item_id, bytes(-len(self._rest) % self._frame_bytes))

    def hear(self, playout: Playout) -> None:
        """The transceiver says how far it is."""
        if playout.sent > self._played.total:
            return  # it counts from before this backend had the call
        self._played.settle(playout.sent)
        waiting = self._played.total - playout.sent
        if playout.sent:
            self.quiet_at_s = self._clock() + waiting * FRAME_S

    async def stop(self) -> dict[str, int]:
        """Be silent now: of each item cut, how many milliseconds were heard. Raises CallOver."""
        self._rest.clear()
        self.quiet_at_s = 0.0
        async with self._silencing:
            playout = await self._call.clear()
            self.quiet_at_s = 0.0  # reports that came meanwhile counted what is cleared now
            return self._played.cut(playout.sent)

    async def _send(self, item_id: str, frame: bytes) -> None:
        await self._call.send_audio(frame, FRAME_TICKS)
        self._played.sent(item_id)
        self.quiet_at_s = max(self.quiet_at_s, self._clock()) + FRAME_S
        self._on_frame(item_id)
