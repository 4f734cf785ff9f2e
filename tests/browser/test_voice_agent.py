"""The page with the local voice agent, as `make run` starts it: every model is the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend_choice import BACKENDS
from launcher.stack import Stack, StackSettings
from loadtest.sound import Samples, silence
from loadtest.voice_bench.script import Speaker
from tests.browser import kit
from tests.browser.kit import call, keep_picture, until

ABSENT = BACKENDS["voice"].missing()
QUESTIONS = ("What time is it?", "What is the capital of France?")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(kit.CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.skipif(bool(ABSENT), reason=f"no package {ABSENT}: run `make voice`"),
]


def caller(path: Path) -> Path:
    """Two questions, with time to answer each."""
    speaker = Speaker()
    parts: list[Samples] = [silence(2.0)]
    for question in QUESTIONS:
        parts += [speaker.say(question).sound, silence(9.0)]
    return kit.wav_of(path, *parts)


async def test_a_talk_with_the_local_agent(tmp_path: Path) -> None:
    """Two questions are written down and answered; the tool that tells the time has its cost."""
    flags = kit.microphone(caller(tmp_path / "caller.wav"))
    settings = StackSettings(backend="voice", ready_timeout_s=90.0)
    async with (
        Stack(settings) as stack,
        kit.opened(stack.console_url, tmp_path / "profile", flags) as page,
    ):
        assert await page.inner_text("#only-backend") == "voice backend"
        await call(page)
        await until(page, "window.trunkline.turns.some((turn) => turn.tools.includes('get_time'))")
        await until(page, "window.trunkline.turns.length >= 2 && window.trunkline.phase !== null")
        await until(page, "window.trunkline.phase === 'speaking'")
        await keep_picture(page, "voice")
        heard = " ".join(await page.locator("#transcript .user .words").all_inner_texts()).lower()
        assert "time" in heard
        assert "france" in heard
        assert (await page.inner_text("#transcript .agent .words")).strip()
        turns = await page.evaluate("window.trunkline.turns")
        assert all(turn["stages"]["out"] > turn["stages"]["first_sound"] for turn in turns)
        assert "get_time" in await page.inner_text("#turns .tool-cost")
        assert "p50" in await page.inner_text("#p50")
        await page.set_viewport_size({"width": kit.NARROW[0], "height": kit.NARROW[1]})
        await keep_picture(page, "voice-narrow")
