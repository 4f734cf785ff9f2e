"""What a caller heard, joined by time stamps, so that a hole stays a hole."""

from __future__ import annotations

import numpy as np

from loadtest.sound import SAMPLE_RATE_HZ, Samples

TIMESTAMP_MODULUS = 1 << 32  # RFC 3550 section 5.1: RTP timestamps are 32 bits wide


class Recording:
    """Frames by their RTP time; at most `max_s` seconds of them, the rest is not kept."""

    def __init__(self, max_s: float) -> None:
        self._max_samples = round(max_s * SAMPLE_RATE_HZ)
        self._frames: list[tuple[int, Samples]] = []
        self._origin: int | None = None
        self.length_samples = 0

    def add(self, timestamp: int, samples: Samples) -> None:
        """Keep one frame that belongs at `timestamp` (48 kHz ticks, may wrap)."""
        if self._origin is None:
            self._origin = timestamp
        start = (timestamp - self._origin) % TIMESTAMP_MODULUS
        if start + len(samples) <= self._max_samples:
            self._frames.append((start, samples))
            self.length_samples = max(self.length_samples, start + len(samples))

    def sound(self) -> Samples:
        """Return the whole recording, with silence where no frame came."""
        sound = np.zeros(self.length_samples, dtype=np.int16)
        for start, samples in self._frames:
            sound[start : start + len(samples)] = samples
        return sound
