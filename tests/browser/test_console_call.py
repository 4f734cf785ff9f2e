"""A person in a real browser presses Talk and hears themself."""

from __future__ import annotations

import base64
import json
import re
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from playwright.async_api import Page

from launcher.stack import Stack, StackSettings
from loadtest.compare import compare
from loadtest.sound import SAMPLE_RATE_HZ, SPEECH, Samples, read_wav
from tests.browser.kit import (
    ARTIFACTS,
    CHROMIUM,
    DEAF,
    call,
    keep_picture,
    microphone,
    opened,
    until,
    until_state,
)

LISTEN_S = 7.0

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

# Runs in the page: keeps every sample that the call plays, as 16-bit little-endian.
RECORD = """
() => {
  const stream = new MediaStream(
    window.trunkline.pc.getReceivers().map((r) => r.track).filter((t) => t.kind === "audio"));
  const context = new AudioContext({ sampleRate: 48000 });
  const tap = context.createScriptProcessor(4096, 1, 1);
  const blocks = [];
  tap.onaudioprocess = (event) =>
    blocks.push(Int16Array.from(event.inputBuffer.getChannelData(0), (x) => x * 32767));
  context.createMediaStreamSource(stream).connect(tap);
  tap.connect(context.destination);
  window.recorded = () => {
    const all = new Uint8Array(blocks.length * 8192);
    blocks.forEach((block, i) => all.set(new Uint8Array(block.buffer), i * 8192));
    let text = "";
    for (let i = 0; i < all.length; i += 32768)
      text += String.fromCharCode(...all.subarray(i, i + 32768));
    return btoa(text);
  };
}
"""


@pytest.fixture
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """A whole Trunkline with its console, as `make run` starts it; the format is the parameter."""
    variables = {"TRUNKLINE_BACKEND_ACCEPTS": getattr(request, "param", "opus")}
    async with Stack(StackSettings(variables)) as running:
        yield running


@pytest.fixture
async def page(stack: Stack, tmp_path: Path) -> AsyncIterator[Page]:
    flags = microphone(SPEECH)
    async with opened(stack.console_url, tmp_path / "profile", flags) as page:
        yield page


@dataclass
class Heard:
    """What one call brought, and what the page said of it."""

    sound: npt.NDArray[np.int16]
    stats: dict[str, float]
    round_trips_ms: list[float | None]
    messages: list[str]


async def one_call(page: Page) -> Heard:
    await call(page)
    await page.evaluate(RECORD)
    round_trips_ms = []
    for _ in range(round(LISTEN_S)):
        await page.wait_for_timeout(1000)
        round_trips_ms.append((await page.evaluate("window.trunkline.stats"))["roundTripMs"])
    await page.fill("#message", "is anybody there?")
    await page.press("#message", "Enter")
    received = decode(await page.evaluate("window.recorded()"))
    stats = await page.evaluate("window.trunkline.stats")
    report = await page.evaluate("window.trunkline.pc.getStats().then((all) => [...all.values()])")
    keep(report, received)
    await keep_picture(page, "echo")
    messages = await page.locator("#transcript .words").all_inner_texts()
    await page.click("#talk")
    assert await until_state(page, "ended", "failed") == "ended"
    return Heard(received, stats, round_trips_ms, messages)


@pytest.mark.parametrize("stack", ["opus", "pcm16_16000"], indirect=True)
async def test_a_caller_hears_themself(page: Page) -> None:
    """Sound comes back whole from either kind of backend, nothing is lost, the page says so.

    Up to three calls: a browser that is kept from its core stretches what it plays.
    """
    for _ in range(3):
        heard = await one_call(page)
        correlation = compare(spoken(), heard.sound).correlation
        if correlation > 0.8:
            break
    assert correlation > 0.8
    assert heard.stats["packetsLost"] == 0
    assert heard.stats["packetsReceived"] > LISTEN_S * 40
    # The best of the call: what else this machine does meanwhile is not what is tested.
    assert min(rtt for rtt in heard.round_trips_ms if rtt is not None) < 5
    assert heard.messages == ["is anybody there?"] * 2, "sent, and come back"


async def test_a_refused_microphone_is_said_in_words(stack: Stack, tmp_path: Path) -> None:
    """Without permission there is no call, and the page tells what to do about it."""
    async with opened(stack.console_url, tmp_path / "profile", DEAF) as page:
        await page.click("#talk")
        assert await until_state(page, "connected", "failed") == "failed"
        await keep_picture(page, "no-microphone")
        assert await page.inner_text("#state") == "Microphone refused"
        assert "microphone" in (await page.inner_text("#error")).lower()


async def test_a_missing_backend_is_said_in_words(stack: Stack, page: Page) -> None:
    """With the backend gone the server answers 503; the page says when to try again, and can."""
    await stack.stop_part("backend")
    await page.click("#talk")
    assert await until_state(page, "connected", "failed") == "failed"
    await keep_picture(page, "busy")
    assert (await page.evaluate("window.trunkline.errors.at(-1)"))["status"] == 503
    assert await page.inner_text("#state") == "Refused"
    assert re.search(r"wait \d+ s|try again now", await page.inner_text("#retry-when"))
    await until(page, "document.getElementById('only-backend').textContent.includes('not there')")
    await stack.start_part("backend")
    await until(page, "document.getElementById('retry-when').textContent.includes('now')")
    await page.click("#retry")
    assert await until_state(page, "connected", "failed") == "connected"


def spoken() -> Samples:
    """Two seconds out of the looping microphone file, where it speaks."""
    speech = read_wav(SPEECH)
    loudest = int(np.argmax(np.convolve(np.abs(speech.astype(float)), np.ones(48_000), "valid")))
    start = max(0, loudest - SAMPLE_RATE_HZ // 2)
    return speech[start : start + 2 * SAMPLE_RATE_HZ]


def decode(text: str) -> Samples:
    return np.frombuffer(base64.b64decode(text), "<i2")


def keep(report: object, received: Samples, name: str = "console") -> None:
    """Leave what the browser saw and heard where a person can look at it."""
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / f"{name}-getstats.json").write_text(json.dumps(report, indent=1))
    with wave.open(str(ARTIFACTS / f"{name}-received.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(received.tobytes())
