"""The process that has a browser's call is killed, and the page does not notice."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Page, Response

from launcher.stack import Stack, StackSettings
from loadtest.sound import SAMPLE_RATE_HZ, Samples
from tests.browser.kit import CHROMIUM, call, keep_picture, microphone, opened, until, voice, wav_of
from tests.browser.test_console_call import RECORD, decode, keep
from tests.conftest import free_port
from tests.integration.survivors import family
from transceiver.call.call_id import origin_of

PACKETS_AFTER = 150  # three seconds of sound
BLOCK = SAMPLE_RATE_HZ // 100  # 10 ms
SILENT = 50  # of 32,767; the voice of these tests is above 5,000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

# Runs in the page: notes whatever the connection says of itself from now on.
WITNESS = """
() => {
  const pc = window.trunkline.pc;
  window.noted = [];
  window.ends = () => [pc.connectionState, pc.iceConnectionState, pc.signalingState,
                       pc.localDescription.sdp, pc.remoteDescription.sdp];
  for (const change of ["connectionstatechange", "iceconnectionstatechange",
                        "icegatheringstatechange", "signalingstatechange", "negotiationneeded"])
    pc.addEventListener(change, () => window.noted.push([change, ...window.ends().slice(0, 3)]));
}
"""
RECEIVED = "window.trunkline.stats.packetsReceived"
DATA = "[...document.querySelectorAll('#transcript .data .words')].map((e) => e.textContent)"


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """A whole Trunkline whose transceiver is two processes."""
    variables = {
        "TRUNKLINE_TRANSCEIVER_PROCESSES": "2",
        "TRUNKLINE_TRANSCEIVER_TRUNK": "127.0.0.1:0",
        "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port(successors=1)}",
    }
    async with Stack(StackSettings(variables, ready_timeout_s=60.0)) as running:
        yield running


async def test_a_killed_process_is_not_noticed(stack: Stack, tmp_path: Path) -> None:
    """Sound and messages go on over the same connection: no other state, no other description."""
    flags = microphone(wav_of(tmp_path / "voice.wav", voice(20.0)))
    calls: list[str] = []
    async with opened(stack.console_url, tmp_path / "profile", flags) as page:
        page.on("response", lambda response: calls.extend(_call_url(response)))
        await call(page)
        await page.evaluate(RECORD)
        await page.evaluate(WITNESS)
        await _say(page, "before")
        await until(page, f"{DATA}.length === 2")
        await _more_sound(page)
        before = await page.evaluate("window.ends()")
        os.kill(_process_of(stack, calls[-1]), signal.SIGKILL)
        await _say(page, "meanwhile")
        await until(page, f"{DATA}.length === 4")
        await _more_sound(page)
        await _say(page, "after")
        await until(page, f"{DATA}.length === 6")
        assert await page.evaluate(DATA) == ["before"] * 2 + ["meanwhile"] * 2 + ["after"] * 2
        assert await page.evaluate("window.noted") == []
        assert await page.evaluate("window.ends()") == before
        assert before[:3] == ["connected", "connected", "stable"]
        assert await page.evaluate("window.trunkline.state") == "connected"
        await keep_picture(page, "takeover")
        heard = decode(await page.evaluate("window.recorded()"))
        keep(await page.evaluate("window.trunkline.stats"), heard, "takeover")
        sys.stdout.write(f"silences, in ms: {silences_ms(heard)}\n")


def _call_url(response: Response) -> list[str]:
    location = response.headers.get("location")
    return [location] if response.request.method == "POST" and location else []


def _process_of(stack: Stack, call_url: str) -> int:
    """The pid of the transceiver's process that has the call: its index is an argument."""
    origin = origin_of(call_url.rpartition("/")[2])
    assert origin is not None
    _, *children = family(stack.parts["transceiver"].pid)
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    (found,) = (pid for pid, words in commands.items() if words[3] == b"%d" % origin.process)
    return found


async def _say(page: Page, text: str) -> None:
    await page.fill("#message", text)
    await page.press("#message", "Enter")


async def _more_sound(page: Page) -> None:
    wanted = await page.evaluate(RECEIVED) + PACKETS_AFTER
    await until(page, f"{RECEIVED} > {wanted}")


def silences_ms(heard: Samples) -> list[int]:
    """How long each silence between two sounds was, to 10 ms."""
    blocks = heard[: len(heard) // BLOCK * BLOCK].reshape(-1, BLOCK)
    (loud,) = np.nonzero(np.abs(blocks.astype(int)).max(axis=1) > SILENT)
    return [int(gap - 1) * 10 for gap in np.diff(loud) if gap > 1]
