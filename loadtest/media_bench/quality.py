"""How well speech can be understood: STOI (Taal et al. 2011), 0–1, by the `pystoi` package."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from launcher import StartupError
from loadtest.sound import SAMPLE_RATE_HZ, Samples

MAX_SHIFT = SAMPLE_RATE_HZ // 25
"""Codec and resampler delay the sound by some ms; the best alignment within this is scored."""

Measure = Callable[..., float]


def stoi_measure() -> Measure:
    """Return the measure. Raises StartupError when the package is not installed."""
    try:
        measure: Measure = importlib.import_module("pystoi").stoi
    except ImportError:
        raise StartupError("impaired: needs the package pystoi (pip install pystoi)") from None
    return measure


def intelligibility(measure: Measure, spoken: Samples, heard: Samples) -> float:
    """Score what was heard against what was said, rounded to 0.001."""
    length = min(len(spoken), len(heard))
    if not length or not heard.any():
        return 0.0
    shift = _shift(spoken[:length], heard[:length])
    reference = spoken[: length - shift].astype(np.float64)
    received = heard[shift:length].astype(np.float64)
    return round(float(measure(reference, received, SAMPLE_RATE_HZ)), 3)


def _shift(spoken: Samples, heard: Samples) -> int:
    """How many samples the sound is late: the peak of the cross-correlation, never negative."""
    size = 1 << (2 * len(spoken) - 1).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken, size))
    return int(np.argmax(np.fft.irfft(spectrum)[:MAX_SHIFT]))
