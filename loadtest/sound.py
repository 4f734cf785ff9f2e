"""Sound as numpy arrays: 48 kHz, mono, 16 bits."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = 960
"""20 ms, the packet time of every browser (RFC 7587 section 4.2)."""

SPEECH = Path(__file__).with_name("assets") / "speech.wav"


def read_wav(path: Path) -> Samples:
    """Read a WAV file. Raises ValueError when it is not 48 kHz mono 16-bit."""
    with wave.open(str(path), "rb") as file:
        form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if form != (SAMPLE_RATE_HZ, 1, 2):
            raise ValueError(f"{path.name} is not 48 kHz mono 16-bit")
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.int16)


def silence(seconds: float) -> Samples:
    """Return that much silence."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), dtype=np.int16)


def tone(seconds: float, frequency_hz: float, peak: int) -> Samples:
    """Return a sine wave of the given peak value."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    wave_form = peak * np.sin(2 * np.pi * frequency_hz * time_s)
    return wave_form.astype(np.int16)


def in_frames(sound: Samples) -> list[Samples]:
    """Cut sound into frames of 20 ms, the last one filled with silence."""
    missing = -len(sound) % FRAME_SAMPLES
    whole = np.concatenate([sound, np.zeros(missing, dtype=np.int16)])
    return list(whole.reshape(-1, FRAME_SAMPLES))
