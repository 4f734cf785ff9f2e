"""Offers whose callers never come leave room for others, in a whole Trunkline."""

from __future__ import annotations

import asyncio

import aiohttp

from launcher.stack import Stack, StackSettings
from loadtest import sound
from loadtest.callers.aiortc_caller import AiortcCaller
from loadtest.target import Target
from tests.transceiver.offers import real_offer

PLACES = 40
OFFERS = 120
CALLS = "/v1/realtime/calls"


async def _flood(http: aiohttp.ClientSession, url: str, key: str) -> list[int]:
    """Many offers at once, of a caller that will not come."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/sdp"}

    async def offer() -> int:
        async with http.post(url + CALLS, data=real_offer(), headers=headers) as answer:
            return answer.status

    return list(await asyncio.gather(*(offer() for _ in range(OFFERS))))


async def test_a_flood_of_offers_leaves_room_for_another_tenant() -> None:
    """One key fills its share and is told 429 for the rest; another key's caller is connected,
    heard and answered meanwhile, by real ICE, DTLS and sound."""
    variables = {
        "TRUNKLINE_TRANSCEIVER_API_KEYS": "greedy:one,polite:two",
        "TRUNKLINE_TRANSCEIVER_MAX_CALLS": str(PLACES),
        "TRUNKLINE_TRANSCEIVER_LEARN_CAPACITY": "false",
    }
    async with Stack(StackSettings(variables)) as stack, aiohttp.ClientSession() as http:
        url = stack.console_url
        statuses = await _flood(http, url, "one")
        assert statuses.count(201) == PLACES // 2
        assert statuses.count(429) == OFFERS - PLACES // 2
        caller = AiortcCaller(http, Target(url, "two"), sound.silence(0.5), 30)
        record = await caller.place()
        assert not record.failure, record
