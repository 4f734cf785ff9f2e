"""A real Chromium on the console page, with a microphone that says what a test wants."""

from __future__ import annotations

import asyncio
import os
import shutil
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Page, async_playwright

from loadtest.sound import SAMPLE_RATE_HZ, Samples, silence

CHROMIUM = shutil.which("chromium")
ARTIFACTS = Path(os.environ.get("TRUNKLINE_ARTIFACTS", "artifacts"))
WIDE, NARROW = (1280, 800), (390, 844)
WAIT_S = 45  # for what must come; how long it takes is not what is tested

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
]
HEARING = [
    "--use-fake-ui-for-media-stream",
    # The capture's own processing would change what is compared; the page's wish for it stays.
    "--disable-features=WebRtcAllowInputVolumeAdjustment,ChromeWideEchoCancellation",
]
DEAF = ["--deny-permission-prompts"]

# Without it the echo that comes back would be cancelled as an echo, which is what it is.
PLAIN_MICROPHONE = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wish) => ask({ ...wish,
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
"""


def microphone(wav: Path) -> list[str]:
    """The flags with which a file is what the microphone hears, over and over."""
    return [*HEARING, f"--use-file-for-fake-audio-capture={wav}"]


@asynccontextmanager
async def opened(
    url: str,
    profile: Path,
    flags: list[str],
    size: tuple[int, int] = WIDE,
    scheme: Any = "light",
) -> AsyncIterator[Page]:
    """The page of `url`; a script error of its own fails the test at the end."""
    errors: list[str] = []
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            args=[*FLAGS, *flags],
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
        )
        await context.add_init_script(PLAIN_MICROPHONE)
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        yield page
        await context.close()
    assert errors == []


async def until(page: Page, expression: str) -> None:
    """Wait until an expression of the page is true; the page's own log tells why it never was.

    Asked again and again from here: the page's policy forbids Playwright to wait inside it.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            while not await page.evaluate(expression):
                await asyncio.sleep(0.05)
    except TimeoutError:
        log = await page.evaluate("window.trunkline.log")
        raise AssertionError(f"never: {expression}\n" + "\n".join(log[-40:])) from None


async def until_state(page: Page, *states: str) -> str:
    """Wait for one of the call's states; which one it is."""
    await until(page, f"{list(states)}.includes(window.trunkline.state)")
    return str(await page.evaluate("window.trunkline.state"))


async def call(page: Page) -> None:
    """Place a call that succeeds."""
    await page.click("#talk")
    assert await until_state(page, "connected", "failed") == "connected"


async def keep_picture(page: Page, name: str) -> None:
    """Leave a picture where a person can look at it; Playwright makes the directory."""
    await page.screenshot(path=str(ARTIFACTS / f"console-{name}.png"))


def voice(seconds: float) -> Samples:
    """Something as loud and as steady as a vowel, for detectors that hear loudness."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    harmonics = sum(np.sin(2 * np.pi * 140 * n * time_s) / n for n in range(1, 12))
    return np.asarray(5000 * harmonics, np.int16)


def wav_of(path: Path, *parts: Samples) -> Path:
    """A WAV file of these parts, one after the other."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.concatenate(parts).tobytes())
    return path


def one_turn(path: Path, pause_s: float = 60.0) -> Path:
    """A caller who says something and listens."""
    return wav_of(path, silence(0.5), voice(1.4), silence(pause_s))
