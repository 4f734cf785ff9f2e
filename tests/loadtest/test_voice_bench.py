"""What the conversation harness measures with: words, pauses, and a whole conversation."""

from __future__ import annotations

import asyncio

import numpy as np
import openai
import pytest

from backends.openai_pipeline.hearing import as_wav
from launcher.backend_choice import BACKENDS
from loadtest.callers.talking import mid_packet_lead
from loadtest.sound import SAMPLE_RATE_HZ, silence, tone
from loadtest.target import Target
from loadtest.voice_bench import measure
from loadtest.voice_bench.command import ModelChoice, agent
from loadtest.voice_bench.conversation import TurnHeard
from loadtest.voice_bench.model_servers import (
    ANSWER,
    MS_PER_WORD,
    RATE_HZ,
    TRANSCRIPT,
    model_servers,
)
from loadtest.voice_bench.script import (
    QUESTIONS,
    Speaker,
    audible,
    with_pause,
)
from loadtest.voice_bench.wer import errors, words

absent = BACKENDS["voice"].missing()
needs_piper = pytest.mark.skipif(bool(absent), reason=f"no package {absent}: run `make voice`")


@pytest.mark.parametrize(
    ("spoken", "written", "count"),
    [
        ("What time is it?", "what time is it", 0),
        ("five five", "5 5", 0),
        ("a b c", "a c", 1),
        ("a b", "a x b y", 2),
        ("", "a", 1),
    ],
)
def test_word_errors(spoken: str, written: str, count: int) -> None:
    """Insertions, deletions and replacements; case, punctuation and digits aside."""
    assert errors(words(spoken), words(written)) == count


def test_a_pause_goes_where_it_is_quiet() -> None:
    """The quiet stretch near the comma becomes as long as asked for; the sound stays."""
    word, short, comma = tone(0.5, 300, 5000), silence(0.08), silence(0.2)
    sound = audible(np.concatenate([silence(0.3), word, short, word, comma, word, silence(0.3)]))
    paused = with_pause(sound, 0.66, 0.6)
    grown_s = (len(paused) - len(sound)) / SAMPLE_RATE_HZ
    assert grown_s == pytest.approx(0.4, abs=0.01)
    middle = int(1.4 * SAMPLE_RATE_HZ)
    assert not paused[middle : middle + SAMPLE_RATE_HZ // 8].any()


@pytest.mark.parametrize("samples", [1, 479, 480, 481, 960, 48_000])
def test_an_utterance_ends_in_the_middle_of_a_packet(samples: int) -> None:
    """So that which packet is the last voiced one is beyond doubt."""
    assert 0 <= mid_packet_lead(samples) < 960
    assert (mid_packet_lead(samples) + samples) % 960 == 480


def test_what_the_stages_leave_unexplained() -> None:
    """Packets are compared with packets; a turn that was cut in two explains nothing."""
    turn = TurnHeard("Hello?", voice_ms=330.0, packets_ms=310.0, ends=1)
    assert not turn.whole
    turn.stages_ms = {"ended": 250.0, "out": 304.0}
    assert turn.whole
    assert turn.unexplained_ms == pytest.approx(6.0)
    turn.ends = 2
    assert not turn.whole


async def test_the_model_servers_speak_the_protocols() -> None:
    """OpenAI's own client transcribes, chats in a stream, and streams speech; then they end."""
    async with model_servers() as settings:
        url = settings["TRUNKLINE_BACKEND_STT_URL"]
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            sound = ("turn.wav", as_wav(bytes(32_000)), "audio/wav")
            written = await client.audio.transcriptions.create(file=sound, model="m")
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
            deltas = [one.choices[0].delta.content async for one in stream if one.choices]
            spoken = await client.audio.speech.create(
                input="two words", model="m", voice="v", response_format="pcm"
            )
            assert len(spoken.content) == 2 * 2 * MS_PER_WORD * RATE_HZ // 1000
    assert written.text == TRANSCRIPT
    assert "".join(delta or "" for delta in deltas).strip() == ANSWER
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*url.removeprefix("http://").split("/")[0].split(":"))


@needs_piper
@pytest.mark.slow
async def test_a_conversation_is_measured() -> None:
    """Over the whole stack and real protocols: turns are answered, and the figures are of them."""
    async with agent(ModelChoice.INSTANT) as stack:
        target = Target(stack.console_url, stack.api_key, stack)
        added = await measure.added(target, 2, 2)
        stopped = await measure.barge_in(target, 1, 1)
    assert added.figures["answered"] == 2
    assert stopped.figures["turns"] == 1


@needs_piper
@pytest.mark.slow
async def test_a_conversation_with_real_models() -> None:
    """A spoken question comes through the whole stack, is written down, and is answered aloud."""
    question = Speaker().say(QUESTIONS[0])
    async with agent(ModelChoice.LOCAL) as stack:
        target = Target(stack.console_url, stack.api_key, stack)
        (turn,) = await measure.talk(target, [question], 1)
    assert turn.voice_ms is not None
    assert words(turn.written)[-2:] == words(QUESTIONS[0])[-2:]


@needs_piper
@pytest.mark.slow
async def test_twenty_callers_at_once() -> None:
    """Twenty real calls ask at the same time, and every one hears an answer."""
    async with agent(ModelChoice.INSTANT) as stack:
        target = Target(stack.console_url, stack.api_key, stack)
        added = await measure.added(target, 20, 20)
    assert added.figures["answered"] == 20
