"""The Plumbing Tax in a real Chromium, over a real store."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.kit import ARTIFACTS, CHROMIUM
from tests.browser.test_record_pages import (  # noqa: F401 - a fixture
    TWO_AM_US,
    Begin,
    begin,
    fill,
    shown,
    text,
    until,
)
from tests.records.api.kit import KEY, OPERATOR, TOKENS
from tests.records.night import Night, of_a_night
from trunkline.v1 import record_pb2 as pb

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


def paid_for(call_id: str, key_id: str) -> Night:
    """A call whose model has a price, with one answer."""
    call = Night(call_id, TWO_AM_US)
    call.begins(key_id=key_id)
    call.turn(2, 1)
    amount = pb.Amount(kind=pb.USAGE_KIND_AUDIO_OUTPUT_TOKENS, amount=100_000)
    usage = pb.UsageReport(provider="openai", model="gpt-realtime-2.1", amounts=[amount])
    call.at(5, usage=usage)
    call.at(6, resources=pb.Resources(cpu_s=3, bytes_to_caller=2_000_000))
    call.at(60, ended=pb.Ended(lasted_s=60))
    return call


async def row(page: Page, layer: str) -> str:
    return await text(page, f"#tax-layers [data-layer={layer}]")


async def test_the_page_says_what_it_shows_when_there_is_nothing(
    begin: Begin,  # noqa: F811
) -> None:
    """No call at all, and none that matches."""
    desk = await begin(())
    page = await desk.open("/tax")
    await shown(page, "tax")
    assert "No call is recorded yet" in await text(page, "#no-tax")
    assert not await page.is_visible("#tax-report")
    await page.goto(f"{desk.url}/tax?key=nobody")
    await shown(page, "tax")
    assert "No call matches" in await text(page, "#no-tax")


async def test_the_bill_by_layer(begin: Begin) -> None:  # noqa: F811
    """Money and ms of each layer, the offers, and what is not known; the form narrows it and stands
    in the address."""
    desk = await begin(())
    fill(desk.store, paid_for("rtc_one", "k1"), paid_for("rtc_two", "k2"))
    page = await desk.open("/")
    await page.click("nav a[href='/tax']")
    await shown(page, "tax")
    assert await text(page, "#tax-count") == "2 calls, 2 minutes, 2 answers"
    assert "12.80" in await row(page, "model")
    assert "160" in await row(page, "model")  # ms from the end of the turn to the first sound
    assert "12.80" in await text(page, "#tax-layers .sum")
    assert "GPT-Live" in await text(page, "#tax-rented")
    assert "relay, nothing measures it" in await text(page, "#tax-unknown")
    await page.fill("#tax-filters [name=key]", "k1")
    await page.select_option("#tax-filters [name=by]", "key")
    await page.click("#tax-filters .go")
    await until(page, "document.getElementById('tax-count').textContent.startsWith('1 call,')")
    assert page.url == f"{desk.url}/tax?key=k1&by=key"
    assert "6.40" in await row(page, "model")
    assert "k1" in await text(page, "#tax-shares")
    await page.click("#tax-filters [type=reset]")
    await until(page, "document.getElementById('tax-count').textContent.startsWith('2 calls')")
    await page.fill("#tax-filters [name=from]", "soon")
    await page.click("#tax-filters .go")
    await shown(page, "fault")
    assert "from is a time such as" in await text(page, "#fault-detail")


async def test_names_are_text(begin: Begin) -> None:  # noqa: F811
    """Markup in a key or in the name of a model does nothing."""
    desk = await begin(())
    attack = "<img src=x onerror='document.title=1'>"
    call = paid_for("rtc_attack", attack)
    amount = pb.Amount(kind=pb.USAGE_KIND_HEARD_SECONDS, amount=1)
    call.at(61, usage=pb.UsageReport(model=attack, amounts=[amount]))
    fill(desk.store, call)
    page = await desk.open("/tax?by=key")
    assert attack in await text(page, "#tax-shares")
    assert attack in await text(page, "#tax-lines")
    assert await page.locator("main img").count() == 0


async def test_a_key_is_told_that_it_may_not(begin: Begin) -> None:  # noqa: F811
    """Prices are the operator's."""
    desk = await begin(TOKENS)
    page = await desk.open("/tax")
    await shown(page, "sign-in")
    await page.fill("#token", KEY)
    await page.press("#token", "Enter")
    await shown(page, "fault")
    assert "for operators and viewers" in await text(page, "#fault-detail")
    await page.click("#sign-out")
    await shown(page, "sign-in")
    await page.fill("#token", OPERATOR)
    await page.press("#token", "Enter")
    await shown(page, "tax")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (768, 1024), (1280, 800), (1680, 1050)])
async def test_every_width_and_scheme(
    begin: Begin,  # noqa: F811
    size: tuple[int, int],
    scheme: str,
) -> None:
    """Nothing is wider than the page; a picture is left where a person can look at it."""
    desk = await begin(())
    fill(desk.store, *of_a_night(TWO_AM_US), paid_for("rtc_paid", "k_paid"))
    page = await desk.open("/tax?by=key", size, scheme)
    await shown(page, "tax")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture = ARTIFACTS / f"records-tax-{size[0]}-{scheme}.png"
    await page.screenshot(path=str(picture), full_page=True)
