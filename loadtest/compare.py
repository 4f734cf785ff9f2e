"""Compares a sound that came back with the sound that was sent. Pure.

The sent sound is first found in the received one as a whole, then once more in pieces of a quarter
of a second near that place: a jitter buffer that makes its delay 20 ms longer in the middle of a
call plays the same sound, and that is reported as a shift, not as another sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from loadtest.sound import SAMPLE_RATE_HZ, Samples

Real = NDArray[np.float64]

MIN_CORRELATION = 0.8
"""Other sounds stay below 0.5; one Opus pass at 32 kb/s or more stays above 0.9."""
MAX_LEVEL_DB = 3.0
MAX_SHIFT_MS = 160.0
"""A busy machine makes a caller late, and a jitter buffer adapts to it in steps of 20 ms."""
PIECE_SAMPLES = SAMPLE_RATE_HZ // 4
SEARCH_SAMPLES = SAMPLE_RATE_HZ // 5
"""A piece is looked for within 200 ms of where it should be."""
MAX_GAP_MS = 60.0
"""Three packets of 20 ms; a shift in the middle of a piece also counts for 10 ms."""
BLOCK_SAMPLES = SAMPLE_RATE_HZ // 100
"""10 ms, so that a lost packet of 20 ms always covers a whole block, however it is aligned."""
VOICED_DB = -30.0
"""A block counts as voiced when it is at most 30 dB below the loudest block."""
MISSING_DB = -20.0
"""A voiced block is missing when it came back more than 20 dB softer than it was said."""


@dataclass(frozen=True)
class Comparison:
    """How a received sound relates to the sent one.

    `correlation` is the peak of the normalised cross-correlation, 0–1, as the mean of the pieces
    by their energy; `delay_s` is where the sent sound starts in the received one; `shift_ms` is by
    how much that moved during the sound, back and forth added up; `level_db` is received over
    sent; `gap_ms` is how much of the `voiced_ms` of sent sound is missing.
    """

    correlation: float
    delay_s: float
    shift_ms: float
    level_db: float
    gap_ms: float
    voiced_ms: float

    def faults(self) -> list[str]:
        """Name what is wrong: none when the same sound came back."""
        if self.correlation < MIN_CORRELATION:
            return ["other_sound" if self.level_db > MISSING_DB else "silence"]
        return [
            name
            for name, bad in (
                ("level", abs(self.level_db) > MAX_LEVEL_DB),
                ("shifts", self.shift_ms > MAX_SHIFT_MS),
                ("gaps", self.gap_ms > MAX_GAP_MS),
            )
            if bad
        ]


def compare(sent: Samples, received: Samples) -> Comparison:
    """Find `sent` in `received` and compare. Raises ValueError when `sent` is silent."""
    reference = sent.astype(np.float64)
    if not reference.any():
        raise ValueError("silence cannot be found in anything")
    margin = len(reference) // 2
    heard = np.pad(received.astype(np.float64), (margin, len(reference)))
    start = int(np.argmax(_correlation(reference, heard)))
    pieces = _find_pieces(reference, heard, start)
    aligned = np.concatenate([piece.heard for piece in pieces])
    gap_blocks, voiced_blocks = _missing(reference, aligned)
    block_ms = 1000 * BLOCK_SAMPLES / SAMPLE_RATE_HZ
    energies = [piece.energy for piece in pieces]
    return Comparison(
        correlation=float(np.average([piece.score for piece in pieces], weights=energies)),
        delay_s=(start - margin) / SAMPLE_RATE_HZ,
        shift_ms=1000 * _shift(pieces) / SAMPLE_RATE_HZ,
        level_db=float(_decibels(_power(aligned), _power(reference))),
        gap_ms=gap_blocks * block_ms,
        voiced_ms=voiced_blocks * block_ms,
    )


@dataclass(frozen=True)
class _Piece:
    """A quarter of a second of speech: how well it was found, how far off, and what was heard."""

    score: float
    offset: int
    energy: float
    heard: Real


def _find_pieces(reference: Real, heard: Real, start: int) -> list[_Piece]:
    """Find every piece near the place it has when the whole starts at `start`.

    The last piece takes the rest: a few milliseconds of sound would be found anywhere.
    """
    count = max(len(reference) // PIECE_SAMPLES, 1)
    edges = [*(index * PIECE_SAMPLES for index in range(count)), len(reference)]
    return [_find_piece(reference[a:b], heard, start + a) for a, b in pairwise(edges)]


def _find_piece(reference: Real, heard: Real, place: int) -> _Piece:
    energy = float(np.sum(reference**2))
    first = max(place - SEARCH_SAMPLES, 0)
    window = heard[first : place + len(reference) + SEARCH_SAMPLES]
    if energy == 0:
        return _Piece(0.0, 0, 0.0, heard[place : place + len(reference)])
    scores = _correlation(reference, window)
    best = int(np.argmax(scores))
    return _Piece(
        float(scores[best]), first + best - place, energy, window[best : best + len(reference)]
    )


def _shift(pieces: list[_Piece]) -> int:
    """Add up how far the delay moved between pieces that were found without doubt."""
    offsets = [piece.offset for piece in pieces if piece.score >= MIN_CORRELATION]
    return sum(abs(after - before) for before, after in pairwise(offsets))


def _correlation(reference: Real, heard: Real) -> Real:
    """Return the normalised cross-correlation for every place where `said` fits into `heard`."""
    places = len(heard) - len(reference) + 1
    size = 1 << (len(heard) + len(reference)).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size))
    products = np.fft.irfft(spectrum, size)[:places]
    sums = np.concatenate([[0.0], np.cumsum(heard**2)])
    energy = sums[len(reference) :] - sums[: -len(reference)]
    own = float(np.sum(reference**2))
    floor = own * 1e-6  # a window of near silence must not score by its rounding errors
    scores: Real = products / np.sqrt(own * np.maximum(energy, floor))
    return scores


def _missing(reference: Real, aligned: Real) -> tuple[int, int]:
    """Count the voiced blocks of `said` that are missing in `aligned`, and all voiced ones."""
    said_power, heard_power = _block_power(reference), _block_power(aligned)
    voiced = _decibels(said_power, float(said_power.max())) > VOICED_DB
    missing = _decibels(heard_power, said_power) < MISSING_DB
    return int(np.sum(voiced & missing)), int(np.sum(voiced))


def _block_power(sound: Real) -> Real:
    blocks = sound[: len(sound) // BLOCK_SAMPLES * BLOCK_SAMPLES].reshape(-1, BLOCK_SAMPLES)
    power: Real = np.mean(blocks**2, axis=1)
    return power


def _power(sound: Real) -> float:
    return float(np.mean(sound**2))


def _decibels(power: Real | float, reference: Real | float) -> Real:
    tiny = 1e-9  # keeps the logarithm of digital silence finite
    ratio: Real = 10 * np.log10((np.asarray(power) + tiny) / (np.asarray(reference) + tiny))
    return ratio
