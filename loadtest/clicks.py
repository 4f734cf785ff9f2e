"""Whether a sound clicks: single samples that stand out of what is around them.

A click is a jump of the wave. Its third difference is flat but for the jump, so what is measured
is, millisecond by millisecond, the highest third difference over the root mean square of those of
the 20 ms around, without the neighbours. Real speech has its own (plosives): up to 40 after Opus.
A cut of the samples themselves has hundreds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loadtest.sound import Samples

BLOCK = 48  # samples: a millisecond
AROUND = 10  # blocks to each side
NEIGHBOURS = 1
FLOOR = 60.0  # third differences below are silence
CLICK = 80.0  # twice what speech has by itself, a fifth of what a cut has


def impulses(sound: Samples) -> NDArray[np.float64]:
    """For each millisecond, how far its sharpest edge stands out."""
    edges = np.abs(np.diff(sound.astype(np.float64), n=3))
    blocks = edges[: len(edges) // BLOCK * BLOCK].reshape(-1, BLOCK)
    window = np.ones(2 * AROUND + 1)
    window[AROUND - NEIGHBOURS : AROUND + NEIGHBOURS + 1] = 0
    around = np.convolve((blocks**2).mean(axis=1), window / window.sum(), "same")
    stands_out: NDArray[np.float64] = blocks.max(axis=1) / np.maximum(np.sqrt(around), FLOOR)
    return stands_out


def clicks(sound: Samples) -> int:
    """How many milliseconds of it click."""
    return int((impulses(sound) > CLICK).sum()) if len(sound) > 2 * BLOCK else 0
