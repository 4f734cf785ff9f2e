"""OpenAI's browser client, unmodified, in a real browser, with a microphone that speaks."""

from __future__ import annotations

import asyncio
import json
import shutil
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from playwright.async_api import Page, Route, async_playwright

from loadtest.sound import SAMPLE_RATE_HZ, SPEECH, read_wav
from tests.backends.openai.stand_in import SPEAK, answer_of, called
from tests.browser.kit import CHROMIUM, FLAGS, HEARING
from tests.compatibility.conftest import Service

NPM = shutil.which("npm")
PACKAGES = Path(__file__).parent / "npm"
BUNDLE = PACKAGES / "node_modules/@openai/agents-realtime/dist/bundle/openai-realtime-agents.umd.js"
INSTALL_TIMEOUT_S = 90
SILENCE_S = 5.0  # between two sentences of the caller: within it the answer begins
ANSWER = "It is raining in Berlin, and it will go on raining for a long while. " * 6

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.skipif(NPM is None, reason="no npm on this machine"),
]

# The application: as their guide has it, and with everything that happens kept for the test.
APPLICATION = """
async ({ url, secret }) => {
  const { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebRTC, tool } = OpenAIAgentsRealtime;
  window.seen = { events: [], history: [], errors: [], cities: [], agent: [], interrupted: 0 };
  const weather = tool({
    name: "get_weather",
    description: "The weather in a city.",
    strict: true,
    parameters: { type: "object", properties: { city: { type: "string" } },
                  required: ["city"], additionalProperties: false },
    execute: async ({ city }) => { seen.cities.push(city); return "rain"; },
  });
  const agent = new RealtimeAgent({ name: "Ada", instructions: "Be brief.", tools: [weather] });
  const transport = new OpenAIRealtimeWebRTC({ baseUrl: `${url}/realtime/calls` });
  const session = new RealtimeSession(agent, { transport });
  session.on("transport_event", (event) => seen.events.push(event));
  session.on("history_updated", (history) => { seen.history = history; });
  session.on("audio_interrupted", () => { seen.interrupted += 1; });
  session.on("error", (error) => seen.errors.push(JSON.stringify(error)));
  window.session = session;
  await session.connect({ apiKey: secret });
  seen.status = transport.status;
  seen.callId = transport.callId;
}
"""

# An answer of which the caller heard the beginning and not the end.
CUT = f"""seen.history.find((item) => item.role === "assistant" && item.content[0]?.transcript
  && item.content[0].transcript.length < {len(ANSWER)} - 20)"""


@pytest.fixture
async def bundle() -> Path:
    """The package's own browser bundle; fetched once."""
    if not BUNDLE.exists():
        command = ("install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
        installing = await asyncio.create_subprocess_exec(
            str(NPM), *command, cwd=PACKAGES, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await asyncio.wait_for(installing.wait(), INSTALL_TIMEOUT_S)
        except TimeoutError:
            installing.kill()
            await installing.wait()
    if not BUNDLE.exists():
        pytest.skip("npm could not fetch @openai/agents")
    return BUNDLE


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """A sentence, a pause, and again: the second time it interrupts the answer."""
    pause = np.zeros(round(SILENCE_S * SAMPLE_RATE_HZ), np.int16)
    sound = np.concatenate([read_wav(SPEECH), pause])
    path = tmp_path / "microphone.wav"
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(sound.tobytes())
    return path


@pytest.fixture
async def page(
    service: Service, bundle: Path, microphone: Path, tmp_path: Path
) -> AsyncIterator[Page]:
    """An empty page of the same origin, with the client's bundle in it."""

    async def empty(route: Route) -> None:
        await route.fulfill(body="<!doctype html><title>A page</title>", content_type="text/html")

    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=CHROMIUM,
            args=[*FLAGS, *HEARING, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        page = await context.new_page()
        await page.route("**/application", empty)
        await page.goto(f"{service.stack.console_url}/application")
        await page.add_script_tag(path=bundle)
        yield page
        await context.close()


async def _secret(service: Service) -> str:
    base_url, key = service.api_url, service.stack.api_key
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        return (await client.realtime.client_secrets.create()).value


async def _until(page: Page, expression: str) -> None:
    """Wait for something to become true; what was seen instead is the failure."""
    try:
        await page.wait_for_function(expression, timeout=45_000)
    except Exception:
        seen = await page.evaluate("seen")
        kinds = [event["type"] for event in seen["events"]]
        pytest.fail(
            f"never: {expression}\n{kinds}\n{seen['errors']}\n{json.dumps(seen['history'])}"
        )


def _happened(kind: str) -> str:
    return f"seen.events.some((event) => event.type === '{kind}')"


async def test_it_talks_calls_a_tool_and_is_interrupted(service: Service, page: Page) -> None:
    """Connects with a secret, is heard, calls a tool, and stops when it is spoken over."""

    def answer(body: dict[str, Any]) -> Any:
        # Asked anew until it has called: answers begun ahead of a turn's end are thrown away.
        known = any(message["role"] == "tool" for message in body["messages"])
        return answer_of(ANSWER) if known else called("get_weather", '{"city": "Berlin"}')

    service.models.answers = answer
    application = {"url": service.api_url, "secret": await _secret(service)}
    await page.evaluate(APPLICATION, application)
    seen = await page.evaluate("seen")
    assert seen["status"] == "connected"
    assert seen["callId"].startswith("rtc_")

    await _until(page, _happened("conversation.item.input_audio_transcription.completed"))
    await _until(page, "seen.cities.length > 0")
    assert await page.evaluate("seen.cities") == ["Berlin"]
    await _until(page, _happened("output_audio_buffer.started"))
    await _until(page, _happened("output_audio_buffer.cleared"))
    await _until(page, _happened("conversation.item.truncated"))
    await _check_history(page)
    await _interrupt_by_hand(page)
    assert await page.evaluate("seen.errors") == []
    assert service.models.requests[SPEAK], "the answer was spoken"
    await page.evaluate("session.close()")


async def _check_history(page: Page) -> None:
    """The client's own picture of the conversation: what was said, called and answered."""
    spoken = (
        "seen.history.some((item) => item.role === 'user'"
        " && item.content[0]?.transcript === 'What time is it?')"
    )
    await _until(page, spoken)
    await _until(page, "seen.history.some((item) => item.type === 'function_call'"
                       " && item.output === 'rain')")  # fmt: skip
    await _until(page, CUT)
    heard = await page.evaluate(f"{CUT}.content[0].transcript")
    assert ANSWER.startswith(heard), "no word that was not heard is left"


async def _interrupt_by_hand(page: Page) -> None:
    """The client's own button: it asks for an answer in text, hears it, and stops it."""
    await page.evaluate("seen.events.length = 0; session.mute(true)")
    await page.evaluate("session.sendMessage('And tomorrow?')")
    await _until(page, _happened("output_audio_buffer.started"))
    await page.evaluate("session.interrupt()")
    await _until(page, _happened("output_audio_buffer.cleared"))
