"""The sound of one caller: cut into windows for the meter, and kept for the turn. Pure.

A turn begins before it is noticed, so the last PREFIX_S are kept while nobody speaks. The sound of
a turn is kept for as long as MAX_TURN_S, the newest, for whoever judges its melody.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from backends.agent.models import BYTES_PER_MS, SAMPLE_RATE_HZ, WINDOW_SAMPLES

WINDOW_BYTES = WINDOW_SAMPLES * 2
PREFIX_S = 0.4
PACKET_BYTES = 20 * BYTES_PER_MS
MAX_TURN_S = 10.0
LEVELS = 64  # packets whose loudness is remembered: 1.3 s
AUDIBLE = 330  # −40 dBFS peak: the loudness from which a packet has a voice in it


class Window(NamedTuple):
    """Sound for the voice meter; its last packet came at `at_s`."""

    pcm: bytes
    at_s: float


class Ear:
    """One call's incoming sound. `heard_ms` counts all of it since the call began."""

    def __init__(self, prefix_s: float = PREFIX_S) -> None:
        self.heard_ms = 0.0
        self.prefix_s = prefix_s
        self._window = bytearray()
        self._prefix: deque[bytes] = deque()
        self._prefix_bytes = 0
        self._turn = bytearray()
        self._levels: deque[tuple[float, int]] = deque(maxlen=LEVELS)
        self._in_turn = False

    def feed(self, pcm: bytes, at_s: float) -> list[Window]:
        """Take a packet that came at `at_s`; the windows it completes."""
        self.heard_ms += len(pcm) / BYTES_PER_MS
        self._levels.append((at_s, _peak(pcm)))
        self._keep(pcm)
        self._window += pcm
        windows = []
        while len(self._window) >= WINDOW_BYTES:
            windows.append(Window(bytes(self._window[:WINDOW_BYTES]), at_s))
            del self._window[:WINDOW_BYTES]
        return windows

    def begin(self) -> bytes:
        """A turn begins: the sound that belongs to it already."""
        self._in_turn = True
        self._turn = bytearray(b"".join(self._prefix))
        self._prefix.clear()
        self._prefix_bytes = 0
        return bytes(self._turn)

    def end(self) -> None:
        """The turn is over."""
        self._in_turn = False
        self._turn.clear()

    @property
    def turn(self) -> bytes:
        """The sound of the turn, the newest MAX_TURN_S of it."""
        return bytes(self._turn)

    def last_voiced_s(self, not_after_s: float) -> float:
        """When the last audible packet came that is not later than the meter's last voice.

        The meter judges 32 ms at a time and lags behind; loudness is exact to a packet.
        """
        audible = (at_s for at_s, peak in reversed(self._levels) if peak >= AUDIBLE)
        return next((at_s for at_s in audible if at_s <= not_after_s), not_after_s)

    def _keep(self, pcm: bytes) -> None:
        if self._in_turn:
            self._turn += pcm
            excess = len(self._turn) - int(MAX_TURN_S * SAMPLE_RATE_HZ) * 2
            del self._turn[: max(0, excess)]
            return
        self._prefix.append(pcm)
        self._prefix_bytes += len(pcm)
        while self._prefix_bytes > self.prefix_s * 1000 * BYTES_PER_MS:
            self._prefix_bytes -= len(self._prefix.popleft())


def from_24_khz(pcm: bytes) -> list[bytes]:
    """Sound of input_audio_buffer.append at the engine's rate, in packets as callers send them."""
    samples = np.frombuffer(pcm, dtype="<i2")
    at = np.arange(len(samples) * 2 // 3) * 1.5
    resampled = np.interp(at, np.arange(len(samples)), samples) if len(samples) else at
    sound = resampled.astype("<i2").tobytes()
    return [sound[start : start + PACKET_BYTES] for start in range(0, len(sound), PACKET_BYTES)]


def _peak(pcm: bytes) -> int:
    samples = np.frombuffer(pcm, dtype="<i2")
    return int(np.abs(samples.astype(np.int32)).max()) if len(samples) else 0
