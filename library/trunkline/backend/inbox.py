"""Events of one call that its handler has not read yet. Pure: nothing waits in it.

Bounds: MAX_FRAMES of audio, the oldest is dropped; MAX_MESSAGES and MAX_MESSAGE_BYTES of data,
beyond which `put_message` refuses and the call must end, since data is never lost silently; one
Playout, the newest.
"""

from __future__ import annotations

from collections import deque

from trunkline.backend.events import Audio, Binary, Event, Playout, Text

MAX_FRAMES = 250  # five seconds of 20 ms frames; a handler further behind answers the past
MAX_MESSAGES = 1000
MAX_MESSAGE_BYTES = 1024 * 1024


class Inbox:
    """Events of one call in the order they came."""

    def __init__(self, max_frames: int = MAX_FRAMES, max_messages: int = MAX_MESSAGES) -> None:
        self.dropped_frames = 0
        self._max_frames = max_frames
        self._max_messages = max_messages
        self._events: deque[tuple[Event, int]] = deque()  # with the bytes of a message
        self._frames = 0
        self._messages = 0
        self._message_bytes = 0
        self._playout_waits = False
        self._playout = Playout()

    def __len__(self) -> int:
        return len(self._events)

    def put_audio(self, audio: Audio) -> None:
        """Add a frame; at the bound the oldest one goes."""
        if self._frames >= self._max_frames:
            self._drop_oldest_frame()
        self._frames += 1
        self._events.append((audio, 0))

    def put_message(self, message: Text | Binary, size_bytes: int) -> bool:
        """Add a data message. False when there is no room: nothing was added."""
        if self._messages >= self._max_messages:
            return False
        if self._message_bytes + size_bytes > MAX_MESSAGE_BYTES:
            return False
        self._messages += 1
        self._message_bytes += size_bytes
        self._events.append((message, size_bytes))
        return True

    def put_playout(self, playout: Playout) -> None:
        """Add a report, in the place of one that still waits."""
        self._playout = playout
        if not self._playout_waits:
            self._playout_waits = True
            self._events.append((playout, 0))

    def take(self) -> Event | None:
        """The next event, None when there is none."""
        if not self._events:
            return None
        event, size_bytes = self._events.popleft()
        if isinstance(event, Audio):
            self._frames -= 1
        elif isinstance(event, Playout):
            self._playout_waits = False
            return self._playout
        else:
            self._messages -= 1
            self._message_bytes -= size_bytes
        return event

    def _drop_oldest_frame(self) -> None:
        # Nearly always the first; else at most MAX_MESSAGES + 1 events stand before it.
        for index, (event, _) in enumerate(self._events):
            if isinstance(event, Audio):
                del self._events[index]
                self._frames -= 1
                self.dropped_frames += 1
                return
