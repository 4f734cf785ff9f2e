"""What the conversation harness measures with: words, pauses, and a whole conversation."""

from __future__ import annotations

import numpy as np
import pytest

from launcher import Stack, StackSettings
from launcher.backend_choice import BACKENDS
from loadtest.sound import SAMPLE_RATE_HZ, silence, tone
from loadtest.target import Target
from loadtest.voice_bench import measure
from loadtest.voice_bench.script import audible, with_pause
from loadtest.voice_bench.wer import errors, words

absent = BACKENDS["voice"].missing()
needs_piper = pytest.mark.skipif(bool(absent), reason=f"no package {absent}: run `make voice`")


@pytest.mark.parametrize(
    ("said", "written", "count"),
    [
        ("What time is it?", "what time is it", 0),
        ("five five", "5 5", 0),
        ("a b c", "a c", 1),
        ("a b", "a x b y", 2),
        ("", "a", 1),
    ],
)
def test_word_errors(said: str, written: str, count: int) -> None:
    """Insertions, deletions and replacements; case, punctuation and digits aside."""
    assert errors(words(said), words(written)) == count


def test_a_pause_goes_where_it_is_quiet() -> None:
    """The quiet stretch near the comma becomes as long as asked for; the sound stays."""
    word, short, comma = tone(0.5, 300, 5000), silence(0.08), silence(0.2)
    sound = audible(np.concatenate([silence(0.3), word, short, word, comma, word, silence(0.3)]))
    paused = with_pause(sound, 0.66, 0.6)
    grown_s = (len(paused) - len(sound)) / SAMPLE_RATE_HZ
    assert grown_s == pytest.approx(0.4, abs=0.01)
    middle = int(1.4 * SAMPLE_RATE_HZ)
    assert not paused[middle : middle + SAMPLE_RATE_HZ // 8].any()


@needs_piper
@pytest.mark.slow
async def test_a_conversation_is_measured() -> None:
    """Instant models over the whole stack: turns are answered, and the figures are of them."""
    variables = {"TRUNKLINE_BACKEND_MODELS": "instant", "TRUNKLINE_LOG_LEVEL": "warning"}
    settings = StackSettings(variables, ready_timeout_s=60.0, backend="voice")
    async with Stack(settings) as stack:
        target = Target(stack.console_url, stack.api_key, stack)
        added = await measure.added(target, 2, 2)
        stopped = await measure.barge_in(target, 1, 1)
    assert added.figures["answered"] == 2
    assert stopped.figures["turns"] == 1
