"""The pages of the record in a real Chromium, over a real store."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import ConsoleMessage, Page

from fleet.admin.access import AdminToken
from records.store.store import Store
from tests.browser.kit import ARTIFACTS, CHROMIUM, WAIT_S, WIDE, opened
from tests.records.api.kit import KEY, OPERATOR, TOKENS, serving
from tests.records.night import Night, healthy, of_a_night, the_call_at_two
from trunkline.v1 import record_pb2 as pb

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]

TWO_AM_US = 1_795_918_447_000_000
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Desk:
    """A store that is served, and browsers on it."""

    url: str
    store: Store
    open: Callable[..., Awaitable[Page]]
    complaints: list[str]


Begin = Callable[[Sequence[AdminToken]], Awaitable[Desk]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """Serve an empty store, with these tokens; what a page complains of fails the test."""
    store = Store(f"sqlite:///{tmp_path}/records.db")
    store.migrate()
    complaints: list[str] = []
    async with AsyncExitStack() as stack:

        async def start(tokens: Sequence[AdminToken]) -> Desk:
            api = await stack.enter_async_context(serving(store, tokens))

            async def open_page(path: str, size: Any = WIDE, scheme: str = "light") -> Page:
                profile = tmp_path / f"profile-{size[0]}-{scheme}"
                page = await stack.enter_async_context(
                    opened(f"{api.url}/healthz", profile, [], size, scheme)
                )
                page.on("console", lambda told: _listen(told, complaints))
                await page.goto(f"{api.url}{path}")
                await shown(page)
                return page

            return Desk(api.url, store, open_page, complaints)

        yield start
    store.close()
    assert complaints == []


def _listen(told: ConsoleMessage, complaints: list[str]) -> None:
    # What the server refuses is written by the browser itself, and is meant.
    if told.type == "error" and "status of 4" not in told.text:
        complaints.append(told.text)


async def until(page: Page, expression: str) -> None:
    """Wait until an expression of the page is true."""
    async with asyncio.timeout(WAIT_S):
        while not await page.evaluate(expression):
            await asyncio.sleep(0.05)


async def shown(page: Page, view: str = "") -> None:
    """Wait for a view, whichever it is when none is named."""
    wanted = f"=== '{view}'" if view else "!== undefined"
    await until(page, f"document.body.dataset.shown {wanted}")


async def text(page: Page, selector: str) -> str:
    return await page.inner_text(selector)


async def ids(page: Page) -> list[str]:
    found = await page.eval_on_selector_all("#calls tr", "rows => rows.map(r => r.dataset.callId)")
    return [str(one) for one in found]


def fill(store: Store, *calls: Night) -> None:
    for call in calls:
        store.write(call.events)


async def test_a_page_says_what_it_shows_when_there_is_nothing(begin: Begin) -> None:
    """In the list, and on a call of which one event is known."""
    desk = await begin(())
    page = await desk.open("/")
    assert "No call is recorded yet" in await text(page, "#no-calls")
    bare = Night("rtc_bare", TWO_AM_US)
    bare.at(0, placed=pb.Placed(tenant="acme"))
    fill(desk.store, bare)
    await page.goto(f"{desk.url}/calls/rtc_bare")
    await shown(page, "call")
    assert await text(page, "#diagnosis-title") == "Nothing went wrong"
    assert "No turn is recorded" in await text(page, "#no-turns")
    assert "Nothing is recorded of what was said" in await text(page, "#no-said")


async def test_the_list_finds_calls(begin: Begin) -> None:
    """Filters narrow it and stand in the address, which can be sent to somebody."""
    desk = await begin(())
    fill(desk.store, *of_a_night(TWO_AM_US))
    page = await desk.open("/")
    assert len(await ids(page)) == 9
    await page.fill("[name=slower]", "800")
    await page.click("#filters .go")
    await until(page, "document.querySelectorAll('#calls tr').length === 1")
    assert await ids(page) == ["rtc_the_call_at_two"]
    assert page.url == f"{desk.url}/?slower=800"
    await page.goto(f"{desk.url}/?state=live")
    await shown(page, "list")
    assert await ids(page) == ["rtc_live"]
    await page.goto(f"{desk.url}/?model=other")
    await shown(page, "list")
    assert "No call matches" in await text(page, "#no-calls")
    await page.click("#filters [type=reset]")
    await until(page, "document.querySelectorAll('#calls tr').length === 9")


async def test_the_call_at_two(begin: Begin) -> None:
    """The cause on top, everything on one clock, what was not heard struck, each turn's stages."""
    desk = await begin(())
    fill(desk.store, the_call_at_two(TWO_AM_US))
    page = await desk.open("/")
    await page.click("text=rtc_the_call_at_two")
    await shown(page, "call")
    assert await text(page, "#diagnosis-title") == "A tool hung"
    assert "#20" in await text(page, "#evidence")
    assert "network path changed" in await text(page, "#beside")
    assert await page.locator("#clock .level").count() == 8
    assert await page.locator("#clock .tool.bad").count() == 1
    assert await page.locator("#clock .gap").count() == 1
    assert await page.locator("#clock .proof").count() == 1
    assert await text(page, "s.unheard") == "Friday and is in Geneva now."
    assert "10 000" in (await text(page, "#waterfall")).replace("\u2009", " ")
    await page.click("#turns .turn-row:nth-child(1)")
    assert "Turn 1" in await text(page, "#turn-figure")
    assert await page.locator("#transcript li.chosen").count() == 2
    assert await page.locator("#clock .turn.chosen title").text_content() == (
        "turn 1: answered after 431 ms"
    )
    await page.click("#transcript li >> nth=2")
    assert "Turn 2" in await text(page, "#turn-figure")
    await page.go_back()
    await shown(page, "list")


async def test_a_live_call_grows_while_somebody_looks(begin: Begin) -> None:
    """Without loading the page anew, until the call ends."""
    desk = await begin(())
    call = healthy("rtc_live", TWO_AM_US, over=False)
    fill(desk.store, call)
    page = await desk.open("/calls/rtc_live")
    assert await text(page, "#ending .chip") == "live"
    call.ends(50, pb.END_REASON_FAILED, pb.CAUSE_BACKEND_LOST)
    fill(desk.store, call)
    await until(page, "document.getElementById('diagnosis').dataset.cause === 'backend_killed'")
    assert await text(page, "#ending .chip") == "ended"


async def test_signing_in(begin: Begin) -> None:
    """A token opens every call, a key those of its tenant; neither is in an address or kept."""
    desk = await begin(TOKENS)
    other = Night("rtc_other", TWO_AM_US)
    other.at(0, placed=pb.Placed(tenant="other"))
    fill(desk.store, healthy("rtc_own", TWO_AM_US), other)
    page = await desk.open("/")
    await shown(page, "sign-in")
    await page.fill("#token", "wrong-token-12345678")
    await page.press("#token", "Enter")
    await until(page, "document.getElementById('sign-in-note').textContent !== ''")
    for token, name, count in ((OPERATOR, "olga, operator", 2), (KEY, "Calls of acme", 1)):
        await page.fill("#token", token)
        await page.press("#token", "Enter")
        await shown(page, "list")
        assert await text(page, "#me") == name
        assert len(await ids(page)) == count
        assert token not in page.url + await page.content()
        assert await page.evaluate("localStorage.length") == 0
        await page.click("#sign-out")
        await shown(page, "sign-in")
    await page.goto(f"{desk.url}/calls/rtc_other")
    await page.fill("#token", KEY)
    await page.press("#token", "Enter")
    await shown(page, "fault")
    assert await text(page, "#fault-title") == "There is no such call"


async def test_what_was_said_is_text(begin: Begin) -> None:
    """Markup in a transcript, in a tool's name or in a prompt is shown, and does nothing."""
    desk = await begin(())
    attack = "<img src=x onerror='document.title=1'>"
    call = Night("rtc_attack", TWO_AM_US)
    call.begins(key_id=attack)
    item = pb.Item(item_id="i1", role=pb.ROLE_USER, type="message", final=True)
    call.at(2, attack, item=item)
    call.at(3, tool=pb.Tool(name=attack, outcome=pb.TOOL_OUTCOME_TIMED_OUT))
    fill(desk.store, call)
    page = await desk.open("/calls/rtc_attack")
    assert await page.locator("#transcript .words").inner_text() == attack
    assert attack in await text(page, "#facts")
    assert await page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (768, 1024), (1280, 800), (1680, 1050)])
async def test_every_width_and_scheme(begin: Begin, size: tuple[int, int], scheme: str) -> None:
    """Nothing is wider than the page; a picture is left where a person can look at it."""
    desk = await begin(())
    fill(desk.store, *of_a_night(TWO_AM_US))
    page = await desk.open("/", size, scheme)
    for name, path in (("list", "/"), ("call", "/calls/rtc_the_call_at_two")):
        await page.goto(f"{desk.url}{path}")
        await shown(page, name)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        picture = ARTIFACTS / f"records-{name}-{size[0]}-{scheme}.png"
        await page.screenshot(path=str(picture), full_page=True)


def test_colours_are_those_of_the_console() -> None:
    """The two look like one product."""
    sheets = [ROOT / "console/style.css", ROOT / "records/pages/style.css"]
    console, pages = (re.findall(r"^\s+(--[\w-]+: .+);", s.read_text(), re.M) for s in sheets)
    assert len(console) > 40
    assert set(pages) >= {one for one in console if not one.startswith(("--label", "--ms"))} - {
        one for one in console if "--sent-ink" in one or "--received-ink" in one
    }
