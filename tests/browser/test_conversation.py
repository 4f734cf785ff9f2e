"""A person talks with an agent on the page: real browser, media and protocol; models stand in."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from backends.agent.models import ChatEvent
from loadtest.sound import silence
from tests.browser import agents, kit
from tests.browser.agents import LONG, QUESTION, SHORT, Agents, words
from tests.browser.kit import NARROW, WIDE, call, keep_picture, until, until_state

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(kit.CHROMIUM is None, reason="no chromium on this machine"),
]

TURNS = "window.trunkline.turns"
TOLD = """window.trunkline.log.filter((line) => line.includes('"type":"trunkline.turn"'))"""
REPORTS = (
    """window.trunkline.log.filter((line) => line.includes('"type":"trunkline.client_report"'))"""
)
MARKUP = "<img src=x onerror=document.title='owned'> & <b>bold</b>"


@asynccontextmanager
async def talking(
    agent: Agents, tmp_path: Path, wav: Path | None = None, size: tuple[int, int] = WIDE
) -> AsyncIterator[Page]:
    """The page of an agent, before a call; the caller says one sentence unless told otherwise."""
    flags = kit.microphone(wav or kit.one_turn(tmp_path / "voice.wav"))
    async with kit.opened(agent.url, tmp_path / "profile", flags, size) as page:
        yield page


def serving(
    answer: Sequence[ChatEvent], variables: dict[str, str] | None = None
) -> AbstractAsyncContextManager[Agents]:
    """An agent with one answer to everything."""
    return agents.agents(lambda _: answer, **(variables or {}))


def shown(ms: float) -> str:
    """As the page writes milliseconds."""
    return f"{math.floor(ms + 0.5):,}".replace(",", "\u2009")


def text_of(selector: str) -> str:
    return f"(document.querySelector({selector!r})?.textContent ?? '')"


def last_text(selector: str) -> str:
    return f"[...document.querySelectorAll('#transcript {selector}')].at(-1).textContent.trim()"


async def test_a_turn_is_written_down_and_taken_apart(tmp_path: Path) -> None:
    """Words appear while they are said; the stages lie against the line, the tool's cost too."""
    async with agents.agents(agents.looks_up_first) as agent, talking(agent, tmp_path) as page:
        await call(page)
        await until(page, f"{text_of('#transcript .user.partial .words')}.includes('What is')")
        await until(page, f"{text_of('#transcript .user:not(.partial) .words')} === {QUESTION!r}")
        await until(page, "window.trunkline.phase === 'listening'")
        await until(
            page, f"{REPORTS}.length === 1"
        )  # so the turn is over, and nothing of it changes
        assert await page.evaluate(f"{TURNS}[0].client.rttMs") is not None
        assert "raining in Berlin" in await page.inner_text("#transcript .agent .said")
        await keep_picture(page, "turn")
        await _check_waterfall(page)
        await _check_tool(page)
        await _check_report(page)
        await _check_sizes(page)


async def _check_report(page: Page) -> None:
    """The server was told once how the network looks from here, and took it."""
    await until(page, "window.trunkline.log.join().includes('trunkline.turn_network')")
    sent = "window.trunkline.log.filter((line) => line.includes('→ ')).join()"
    assert (await page.evaluate(sent)).count('"type":"trunkline.client_report"') == 1
    assert await page.locator("#transcript .error").count() == 0


async def _check_waterfall(page: Page) -> None:
    """Each stage is a row with its bar; line and end of turn are where they belong."""
    [turn] = await page.evaluate(TURNS)
    rows = page.locator("#stages tr")
    names = [await row.get_attribute("data-stage") for row in await rows.all()]
    assert names[0] == "network_in"
    assert names[-1] == "network_out"
    assert names[1:-1] == ["ended", "heard", "asking", "tool", "first_words", "first_sound", "out"]
    half_ms = turn["client"]["rttMs"] / 2
    total_ms = turn["stages"]["out"] + 2 * half_ms
    total_ms += (turn["network"]["jitterBufferMs"] or 0) + (turn["client"]["jitterBufferMs"] or 0)
    assert await page.inner_text("#figure") == shown(total_ms)
    assert "over the line" in await page.inner_text("#verdict")
    line = await page.locator(".limit-line").bounding_box()
    track = await page.locator("#stages .track").first.bounding_box()
    ended = await page.locator("[data-stage=ended] .wait").bounding_box()
    assert line
    assert track
    assert ended
    # Both are on one axis, so pixels of one tell milliseconds of the other.
    ms_a_pixel = turn["stages"]["ended"] / ended["width"]
    zero = ended["x"] - (half_ms + (turn["network"]["jitterBufferMs"] or 0)) / ms_a_pixel
    assert abs((line["x"] - zero) * ms_a_pixel - 300) < 4 * ms_a_pixel


async def _check_tool(page: Page) -> None:
    """What the tool took is told beside the turn, in the history and in the waterfall."""
    [turn] = await page.evaluate(TURNS)
    took_ms = turn["stages"]["tool_ended"] - turn["stages"]["tool_started"]
    assert took_ms >= agents.TOOL_S * 1000
    cost = f"+{shown(took_ms)} ms look_up"
    await until(page, f"{text_of('#transcript .tool-cost')} === {cost!r}")
    await until(page, f"{text_of('#turns .tool-cost')} === {cost!r}")
    assert await page.inner_text("[data-stage=tool] th") == "Tool look_up"
    assert "The tool took" in await page.inner_text("#account")


async def _check_sizes(page: Page) -> None:
    """Wide and narrow, light and dark, nothing is wider than the screen."""
    for width, height in (WIDE, (768, 1024), NARROW, (320, 640)):
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await keep_picture(page, f"turn-{width}-{scheme}")


async def test_the_waterfall_stands_while_the_answer_is_spoken(tmp_path: Path) -> None:
    """The stages up to the first sound are drawn at once; what is reported waits for the end."""
    async with serving(words(LONG)) as agent, talking(agent, tmp_path) as page:
        await call(page)
        await until(page, "window.trunkline.phase === 'speaking'")
        await until(page, "document.querySelector('#stages [data-stage=out]') !== null")
        await keep_picture(page, "speaking")
        seen = await page.evaluate(
            f"[window.trunkline.phase, {TURNS}, {TOLD}.length, {REPORTS}.length]"
        )
        phase, (turn,), told, reports = seen
        assert (phase, turn["isFinal"], told, reports) == ("speaking", False, 1, 0)
        assert re.fullmatch(r"[\d\u2009]+", await page.inner_text("#figure"))
        await until(page, "window.trunkline.phase === 'listening'")
        await until(page, f"{REPORTS}.length === 1")
        (last,) = await page.evaluate(TURNS)
        assert (last["isFinal"], last["stages"]) == (True, turn["stages"])
        assert await page.evaluate(f"{TOLD}.length") == 2


async def test_an_interrupted_answer_is_cut_where_it_was_heard(tmp_path: Path) -> None:
    """The caller speaks over an answer: it stops, and what was not heard is struck out."""
    wav = kit.wav_of(tmp_path / "voice.wav", silence(0.5), kit.voice(1.2), silence(3.0))
    async with serving(words(LONG)) as agent, talking(agent, tmp_path, wav) as page:
        await call(page)
        await until(page, "window.trunkline.phase === 'speaking'")
        await until(page, "window.trunkline.phase === 'interrupted'")
        assert await page.inner_text("#state") == "Interrupted"
        await until(page, "document.querySelector('#transcript .cut .unheard') !== null")
        await _check_cut(page)
        await until(page, f"{TURNS}.some((turn) => turn.silentAfterMs !== null)")
        await keep_picture(page, "interrupted")
        assert "interrupted" in await page.locator("#turns .outcome").last.inner_text()
        told = "\n".join(await page.locator("#transcript .cut-off").all_inner_texts())
        assert re.search(r"cut off after \d+\.\d s · silent \d+ ms after you spoke", told)


async def _check_cut(page: Page) -> None:
    """What is shown as heard is what the server kept of the item."""
    kept = """() => window.trunkline.log
      .filter((line) => line.includes("← ")).map((line) => JSON.parse(line.split("← ")[1]))
      .find((event) => event.type === "conversation.item.retrieved").item.content[0].transcript"""
    await until(page, "window.trunkline.log.some((line) => line.includes('item.retrieved'))")
    first = page.locator("#transcript .agent.cut").first
    spoken = await first.locator(".said").inner_text()
    assert spoken.strip() == (await page.evaluate(kept)).strip()
    assert spoken
    unheard = await first.locator(".unheard").inner_text()
    assert unheard.strip()
    assert LONG.startswith(spoken + unheard)


async def test_a_backend_is_chosen(tmp_path: Path) -> None:
    """The page lists what there is; the call goes where the caller wants."""
    async with serving(words(SHORT)) as agent, talking(agent, tmp_path) as page:
        options = await page.locator("#backend option").all_inner_texts()
        assert options == ["Any backend", "agent · voice", "echo"]
        await page.select_option("#backend", "echo")
        assert await page.is_visible("#hint")
        await keep_picture(page, "choice")
        await call(page)
        assert await page.is_disabled("#backend")
        await until(page, "!document.getElementById('message').disabled")
        await page.fill("#message", "hello")
        await page.press("#message", "Enter")
        await until(page, "document.querySelectorAll('#transcript .data').length === 2")
        await page.click("#talk")
        assert await until_state(page, "ended", "failed") == "ended"
        await page.select_option("#backend", "agent")
        assert not await page.is_visible("#hint")
        await call(page)
        await until(page, "window.trunkline.phase === 'listening'")


async def test_words_are_typed_and_markup_is_text(tmp_path: Path) -> None:
    """Typing over an answer stops it and is answered; nobody's words become elements."""
    wav = kit.wav_of(tmp_path / "voice.wav", silence(0.5), kit.voice(1.0), silence(120))
    async with serving(words(LONG)) as agent, talking(agent, tmp_path, wav) as page:
        await call(page)
        await until(page, "window.trunkline.phase === 'speaking'")
        agent.chat.answer = lambda _: words(MARKUP)
        await page.fill("#message", MARKUP)
        await page.press("#message", "Enter")
        await until(page, "document.querySelector('#transcript .cut') !== null")
        await until(page, f"{last_text('.user .words')} === {MARKUP!r}")
        await until(page, f"{TURNS}.length === 2 && {TURNS}[1].answeredMs !== null")
        await until(page, f"{last_text('.agent .words')} === {MARKUP!r}")
        await keep_picture(page, "typed")
        assert await page.locator("#transcript img, #transcript b, #log img").count() == 0
        assert await page.title() == "Trunkline console"
        assert await page.evaluate("window.trunkline.errors") == []
        assert await page.locator("#transcript .error").count() == 0


async def test_a_failed_answer_is_said(tmp_path: Path) -> None:
    """With the chat model down, transcript, turn and history name the failure; the call goes on."""
    async with agents.agents(agents.fails) as agent, talking(agent, tmp_path) as page:
        await call(page)
        await until(page, f"{TURNS}.length === 1")
        await until(page, "document.querySelector('#transcript .note.error') !== null")
        await keep_picture(page, "failed-turn")
        assert "llm_down" in await page.inner_text("#transcript .note.error")
        assert "failed" in await page.inner_text("#turns .outcome")
        assert "failed: " in await page.inner_text("#verdict")
        assert await page.evaluate("window.trunkline.state") == "connected"


async def test_a_lost_backend_is_said(tmp_path: Path) -> None:
    """The backend ends in the middle of a call: the page says so, and offers another."""
    async with serving(words(SHORT)) as agent, talking(agent, tmp_path) as page:
        await call(page)
        await until(page, "window.trunkline.phase === 'listening'")
        await agent.server.stop()
        assert await until_state(page, "ended", "failed") == "failed"
        await until(page, f"{text_of('#backend option[value=agent]')}.includes('not there')")
        await keep_picture(page, "backend-lost")
        assert await page.inner_text("#state") == "Backend lost"
        assert await page.is_visible("#retry")


async def test_a_limit_is_counted_down(tmp_path: Path) -> None:
    """A key over its limit is refused with 429, and the page counts the wait down."""
    limited = {"TRUNKLINE_TRANSCEIVER_LIMITS": "key/*: rate=0.02"}
    async with serving(words(SHORT), limited) as agent, talking(agent, tmp_path) as page:
        await call(page)
        await page.click("#talk")
        await until_state(page, "ended")
        await page.click("#talk")
        assert await until_state(page, "connected", "failed") == "failed"
        assert (await page.evaluate("window.trunkline.errors.at(-1)"))["status"] == 429
        assert "wait" in await page.inner_text("#retry-when")
        first = await page.inner_text("#retry-when")
        await keep_picture(page, "limited")
        await until(page, f"{text_of('#retry-when')} !== {first!r}")


async def test_the_keyboard_is_enough(tmp_path: Path) -> None:
    """Talk, mute, walk through the turns and hang up without a mouse."""
    wav = kit.wav_of(tmp_path / "voice.wav", silence(0.5), kit.voice(1.0), silence(2.5))
    async with serving(words(SHORT)) as agent, talking(agent, tmp_path, wav) as page:
        await until(page, "!document.getElementById('choice').hidden")
        for stop in ("backend", "talk"):
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.id") == stop
        await page.keyboard.press("Enter")
        assert await until_state(page, "connected", "failed") == "connected"
        await until(page, f"{TURNS}.length >= 2")
        await page.focus("#mute")
        await page.keyboard.press("Space")
        assert await page.get_attribute("#mute", "aria-pressed") == "true"
        await page.focus("#turns input:checked")
        shown = await page.inner_text("#turn-title")
        await page.keyboard.press("ArrowDown")
        await until(page, f"{text_of('#turn-title')} !== {shown!r}")
        assert await page.is_visible("#latest")
        await page.focus("#latest")
        await page.keyboard.press("Enter")
        assert not await page.is_visible("#latest")
        await page.focus("#talk")
        await page.keyboard.press("Enter")
        assert await until_state(page, "ended", "failed") == "ended"
        assert "You hung up" in await page.inner_text("#note")
