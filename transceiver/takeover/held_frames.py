"""Packets of a call that is between two owners, until one of the two goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_FRAMES = 512  # two seconds of speech with reports and some messages


@dataclass(frozen=True, slots=True)
class HeldFrame:
    """A packet, from where it came, and the relay worker that sent it (b"": an owner before)."""

    relay: bytes = field(repr=False)
    address: bytes = field(repr=False)
    packet: bytes = field(repr=False)


class HeldFrames:
    """In order. Full means that a new packet is refused."""

    def __init__(self) -> None:
        self._frames: list[HeldFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[HeldFrame]:
        return iter(self._frames)

    def add(self, frame: HeldFrame) -> bool:
        """Keep a packet; False at the bound."""
        if len(self._frames) >= MAX_FRAMES:
            return False
        self._frames.append(frame)
        return True
