"""What a caller heard, decoded, and how late it was at a moment. Pure.

A window of sound is laid over the five seconds that everybody speaks; where it fits is when it was
said. The delay of a packet is its arrival less that; of a window the median of its packets. There
is no jitter buffer in it, whose delay is the caller's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

from loadtest.sound import FRAME_SAMPLES, Samples
from loadtest.stall.speech import FRAME_S, LOOP_S, loop

EVERY = 6  # 48 kHz to 8: enough to tell where in the speech it is
RATE_HZ = 8_000
WINDOWS_S = (0.8, 1.6)  # the longer when the shorter is a pause of the speech
FITS = 0.5  # of 1: the correlation of the same speech through a codec is above 0.8

Heard = Sequence[tuple[float, int, bytes]]


class Recording:
    """The packets of a call by number, each decoded after the one before it."""

    def __init__(self, heard: Heard) -> None:
        decoder = av.AudioCodecContext.create("libopus", "r")
        first: dict[int, tuple[float, bytes]] = {}
        for came_s, number, payload in heard:
            first.setdefault(number, (came_s, payload))
        self.numbers = sorted(first)
        self.came_s = np.array([first[number][0] for number in self.numbers])
        self._frames = [_decoded(decoder, first[number][1]) for number in self.numbers]

    @property
    def sound(self) -> Samples:
        """All of it, one packet behind the other."""
        return np.concatenate(self._frames) if self._frames else np.zeros(0, np.int16)

    @property
    def sent(self) -> int:
        """How many packets the other side sent, from the first that came to the last."""
        return self.numbers[-1] - self.numbers[0] + 1 if self.numbers else 0

    def delay_s(self, from_s: float) -> float | None:
        """How late what came from that moment on was; None when it is no speech that we know."""
        for length_s in WINDOWS_S:
            inside = np.nonzero((self.came_s >= from_s) & (self.came_s < from_s + length_s))[0]
            frames = [self._frames[index] for index in inside]
            if len(frames) < length_s / FRAME_S / 2 or {len(f) for f in frames} != {FRAME_SAMPLES}:
                continue
            spoken_s = _spoken_s(np.concatenate(frames))
            if spoken_s is not None:
                spoken = spoken_s + np.arange(len(inside)) * FRAME_S
                return float(np.median(_from_spoken(self.came_s[inside] - spoken)))
        return None


def _decoded(decoder: av.AudioCodecContext, payload: bytes) -> Samples:
    """One channel of a packet: both are alike."""
    frames = [
        frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)].astype(np.int16)
        for frame in decoder.decode(av.Packet(payload))
    ]
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def _spoken_s(sound: Samples) -> float | None:
    """Where in the five seconds a sound begins."""
    window, whole = _coarse(sound), _coarse(loop())
    spectrum = np.fft.rfft(whole) * np.conj(np.fft.rfft(window, len(whole)))
    fits = np.fft.irfft(spectrum, len(whole))
    best = int(fits.argmax())
    there = np.take(whole, range(best, best + len(window)), mode="wrap")
    scale = float(np.linalg.norm(window) * np.linalg.norm(there))
    return best / RATE_HZ if scale and fits[best] > FITS * scale else None


def _coarse(sound: Samples) -> NDArray[np.float64]:
    coarse: NDArray[np.float64] = sound[: len(sound) // EVERY * EVERY].reshape(-1, EVERY).mean(1)
    return coarse


def _from_spoken(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Delays out of times that are known but for whole loops; a little less than 0 stays so."""
    return (seconds + LOOP_S / 10) % LOOP_S - LOOP_S / 10
