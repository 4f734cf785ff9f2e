"""What a caller sends in each 20 ms, by its kind. Pure.

    always    speech without a pause
    never     a microphone that hears next to nothing, which browsers send all the same
    turns     speech, a pause that an answer would fill, speech …
    barge_in  as turns, but it speaks again before the answer is over

No two packets of the vocabulary are alike, so an echo tells which frame it is the echo of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from loadtest import sound
from loadtest.callers.opus_packets import encode
from loadtest.sound import SAMPLE_RATE_HZ

Kind = Literal["always", "never", "turns", "barge_in"]

FRAMES_PER_S = 50
QUIET_S = 4.0
QUIET_PEAK = 2
"""Two steps of sixteen bits: what a muted room is to a microphone."""


@dataclass(frozen=True)
class Vocabulary:
    """Packets of speech and of a quiet room, all different."""

    loud: tuple[bytes, ...]
    quiet: tuple[bytes, ...]


@dataclass(frozen=True)
class Rhythm:
    """How long a turn and the pause behind it are, in frames; a pause of 0 is speech throughout."""

    talk: int
    pause: int


RHYTHMS: dict[Kind, Rhythm] = {
    "always": Rhythm(1, 0),
    "never": Rhythm(0, 1),
    "turns": Rhythm(2 * FRAMES_PER_S, 3 * FRAMES_PER_S),
    "barge_in": Rhythm(FRAMES_PER_S, 2 * FRAMES_PER_S),
}


def is_talking(kind: Kind, frame: int) -> bool:
    """Whether the caller speaks in its `frame`-th 20 ms."""
    rhythm = RHYTHMS[kind]
    return frame % (rhythm.talk + rhythm.pause) < rhythm.talk


def starts_talking(kind: Kind, frame: int) -> bool:
    """Whether a turn begins with this frame."""
    return is_talking(kind, frame) and (frame == 0 or not is_talking(kind, frame - 1))


def payload(vocabulary: Vocabulary, kind: Kind, frame: int) -> bytes:
    """The Opus packet of a frame."""
    words = vocabulary.loud if is_talking(kind, frame) else vocabulary.quiet
    return words[frame % len(words)]


@cache
def vocabulary() -> Vocabulary:
    """Encode speech and next to nothing, once a process."""
    noise = np.random.default_rng(7).integers(
        -QUIET_PEAK, QUIET_PEAK + 1, round(QUIET_S * SAMPLE_RATE_HZ), dtype=np.int16
    )
    loud = dict.fromkeys(encode(sound.read_wav(sound.SPEECH)))
    quiet = {packet: None for packet in encode(noise) if packet not in loud}
    return Vocabulary(tuple(loud), tuple(quiet))
