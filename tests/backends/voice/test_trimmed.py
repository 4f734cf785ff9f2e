"""What is cut off a voice before it is sent."""

from __future__ import annotations

import numpy as np
import pytest

from backends.voice.piper import AUDIBLE, trimmed

RATE_HZ = 22_050
PACKET_S = 0.020
OPUS_DELAY_S = 0.0065


@pytest.mark.parametrize("rise_s", [0.001, 0.02, 0.2])
def test_the_first_packet_has_the_first_sound(rise_s: float) -> None:
    """However slowly a voice comes up, nobody waits a packet for what cannot be heard yet."""
    silence, rise = np.zeros(RATE_HZ // 3), np.linspace(0, 8000, int(rise_s * RATE_HZ))
    sound = np.concatenate([silence, rise, np.full(RATE_HZ // 2, 8000)]).astype(np.int16)
    left = trimmed(sound, RATE_HZ, 0.1)
    first_audible_s = float(np.argmax(left > AUDIBLE)) / RATE_HZ
    assert 0 < first_audible_s + OPUS_DELAY_S < PACKET_S


def test_silence_is_nothing() -> None:
    """A voice that says nothing leaves nothing."""
    assert not len(trimmed(np.zeros(1000, np.int16), RATE_HZ, 0.1))
