"""The real models, where they are installed: each by itself, and in a conversation with itself."""

from __future__ import annotations

import asyncio
import importlib
import re

import pytest

from backends.agent.models import SAMPLE_RATE_HZ, WINDOW_SAMPLES, ChatMessage, TextDelta
from backends.agent.settings import INSTRUCTIONS
from backends.voice.local import local_models
from backends.voice.phrases import TIME
from launcher.backend_choice import BACKENDS

absent = BACKENDS["voice"].missing()
pytestmark = pytest.mark.skipif(bool(absent), reason=f"no package {absent}: run `make voice`")

QUESTION = "What is the capital of France?"


async def test_the_models_understand_each_other() -> None:
    """What Piper says is a voice, ends a turn, is written down as it was, and is answered."""
    async with local_models((TIME,), ()) as models:
        pcm = b"".join([piece async for piece in models.speak.speak("call", QUESTION)])
        assert 1.0 < len(pcm) / 2 / SAMPLE_RATE_HZ < 3.0

        meter, size = models.voice.meter(), 2 * WINDOW_SAMPLES
        voiced = [
            meter.probability(pcm[at : at + size]) > 0.5 for at in range(0, len(pcm) - size, size)
        ]
        assert voiced.count(True) > 0.8 * len(voiced)
        assert not [n for n in range(10) if meter.probability(bytes(size)) > 0.5][3:]

        hearing = models.hear.listen("call")
        hearing.feed(pcm)
        assert await hearing.text(final=True) == QUESTION

        assert models.end is not None
        half = pcm[: len(pcm) // 4 * 2]
        whole, cut = [await models.end.probability("call", sound) for sound in (pcm, half)]
        assert cut < whole > 0.5  # Piper never says a sentence twice alike

        messages = [{"role": "user", "content": QUESTION}]
        await models.think.prime("call", messages)
        answer = [event async for event in models.think.stream("call", messages)]
        assert any(isinstance(event, TextDelta) for event in answer)


@pytest.mark.parametrize(
    ("looped", "expected"),
    [
        ("What time is it? What time is it? What time", "What time is it?"),
        ("Hello? How are you? Hello? How are you?", "Hello? How are you?"),
        ("It is. I think so.", "It is. I think so."),
        ("", ""),
    ],
)
def test_a_transcript_that_loops_says_it_once(looped: str, expected: str) -> None:
    """Whisper's loops are cut to the first time; other texts stay."""
    assert importlib.import_module("backends.voice.whisper").once(looped) == expected


FRENCH = re.compile(r"[à-ÿ]|\b(?:je|est|les|des|une|vous|pour|dans|avec|avis)\b", re.IGNORECASE)


async def test_the_chat_model_stays_with_english() -> None:
    """Questions about France are where it went over to French, and stayed there."""
    async with local_models((), ()) as models:
        messages: list[ChatMessage] = [{"role": "system", "content": INSTRUCTIONS}]
        for question in (QUESTION, "I want to travel from London to Paris.", "How are you?"):
            messages.append({"role": "user", "content": question})
            stream = models.think.stream("call", messages, (), 16)
            answer = "".join([event.text async for event in stream if isinstance(event, TextDelta)])
            messages.append({"role": "assistant", "content": answer})
            assert answer
            assert not FRENCH.search(answer)


async def test_calls_share_the_chat_model() -> None:
    """More calls than slots are all answered, and one that is left ends at once."""
    async with local_models((), ()) as models:

        async def ask(call: str) -> bool:
            messages = [{"role": "user", "content": "Hello"}]
            stream = models.think.stream(call, messages, (), 4)
            return any([isinstance(event, TextDelta) async for event in stream])

        assert all(await asyncio.gather(*(ask(f"call_{n}") for n in range(6))))
        story = [{"role": "user", "content": "Tell me a long story."}]
        async for _ in models.think.stream("call_left", story):
            break
        assert await ask("call_after")
