"""What a caller says while no backend listens. Pure.

It takes what a `CallHandle` takes of the caller, and gives it to the next one. Of sound the newest
HELD_S are held, and the frame after those that were dropped reports them as lost. A message is
never lost in silence: what does not fit is the end of the call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from transceiver.call.waiting_messages import MAX_BYTES, MAX_MESSAGES
from transceiver.rtp.opus import CLOCK_HZ

HELD_S = 2.0


class Hearer(Protocol):
    """Who takes what the caller says: `transceiver.link.call_handle.CallHandle` has the words."""

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        """One frame of the caller's speech."""

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        """A text message of the caller, or of the call's server."""

    def send_binary(self, label: str, content: bytes) -> None:
        """A binary message of the caller."""


class _Frame(NamedTuple):
    payload: bytes
    rtp_time: int
    duration: int
    lost: int


class _Message(NamedTuple):
    label: str
    content: str | bytes
    from_server: bool


class Unheard:
    """Sound and messages, each in order; `on_overflow` hears that a message did not fit."""

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        self.lost = 0  # packets dropped here, and those that were missing before them
        self._on_overflow = on_overflow
        self._frames: deque[_Frame] = deque()
        self._ticks = 0  # of 48 kHz, of all frames
        self._messages: list[_Message] = []
        self._message_bytes = 0

    def __len__(self) -> int:
        return len(self._frames) + len(self._messages)

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        """Hold a frame; the oldest go where there is no room."""
        self._frames.append(_Frame(payload, rtp_time, duration, lost))
        self._ticks += duration
        while self._ticks > HELD_S * CLOCK_HZ:
            oldest = self._frames.popleft()
            self._ticks -= oldest.duration
            self.lost += oldest.lost + 1

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        """Hold a text message."""
        self._hold(_Message(label, text, from_server), len(text.encode()))

    def send_binary(self, label: str, content: bytes) -> None:
        """Hold a binary message."""
        self._hold(_Message(label, content, from_server=False), len(content))

    def pour(self, hearer: Hearer) -> None:
        """Give everything away, messages first: they say what the sound is to be taken for."""
        for label, content, from_server in self._messages:
            if isinstance(content, str):
                hearer.send_text(label, content, from_server=from_server)
            else:
                hearer.send_binary(label, content)
        lost, self.lost = self.lost, 0
        for payload, rtp_time, duration, missing in self._frames:
            hearer.send_audio(payload, rtp_time, duration, missing + lost)
            lost = 0
        self._messages.clear()
        self._frames.clear()
        self._message_bytes = self._ticks = 0

    def _hold(self, message: _Message, size_bytes: int) -> None:
        size_bytes += len(message.label.encode())
        room = len(self._messages) < MAX_MESSAGES and self._message_bytes + size_bytes <= MAX_BYTES
        if not room:
            self._on_overflow()
            return
        self._messages.append(message)
        self._message_bytes += size_bytes
