"""Messages for data channels that are not open yet.

A backend greets as soon as it has the call, which is before the caller's channel is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from transceiver.takeover.session_state import WaitingMessage

MAX_MESSAGES = 64
MAX_BYTES = 256 * 1024


class WaitingMessages:
    """Messages by channel label, in order. Full means that a new message is refused."""

    def __init__(self) -> None:
        self._messages: deque[tuple[str, str | bytes, int]] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, label: str, content: str | bytes) -> bool:
        """Keep a message; False at a bound (`MAX_MESSAGES`, `MAX_BYTES`)."""
        size = len(label) + len(content.encode() if isinstance(content, str) else content)
        if len(self._messages) >= MAX_MESSAGES or self._size_bytes + size > MAX_BYTES:
            return False
        self._messages.append((label, content, size))
        self._size_bytes += size
        return True

    def export(self) -> tuple[WaitingMessage, ...]:
        """What waits, as values, in order."""
        return tuple(
            WaitingMessage(label, content, None)
            if isinstance(content, str)
            else WaitingMessage(label, None, content)
            for label, content, _ in self._messages
        )

    def resume(self, messages: Iterable[WaitingMessage]) -> None:
        """Keep what waited in another process, within the bounds."""
        for message in messages:
            content = message.binary if message.text is None else message.text
            self.add(message.label, content or b"")

    def take(self, label: str) -> list[str | bytes]:
        """The messages for `label`, which are no longer kept."""
        found = [content for wanted, content, _ in self._messages if wanted == label]
        self._messages = deque(entry for entry in self._messages if entry[0] != label)
        self._size_bytes = sum(size for _, _, size in self._messages)
        return found
