"""A real call through a whole Trunkline, as its API shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from launcher.stack import Stack, StackSettings
from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.target import Target

BACKEND = Path(__file__).parents[1] / "talking_backend.py"
PACKETS = [b"\xf8\xff\xfe"] * 5
PATIENCE_S = 90.0  # on a machine with other things to do


async def ended_call(http: aiohttp.ClientSession, url: str, key: str) -> dict[str, Any]:
    """The one call of a key, once it has ended and its end is stored."""
    headers = {"Authorization": f"Bearer {key}"}
    while True:
        async with http.get(f"{url}/v1/calls?state=ended", headers=headers) as answer:
            calls = (await answer.json())["calls"]
        if calls:
            async with http.get(f"{url}/v1/calls/{calls[0]['call_id']}", headers=headers) as answer:
                told: dict[str, Any] = await answer.json()
                return told
        await asyncio.sleep(0.05)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("backend", "cause"),
    [("echo", "nothing_wrong"), (f"{BACKEND}:talk", "record_hole")],
)
async def test_a_real_call_has_its_story(tmp_path: Path, backend: str, cause: str) -> None:
    """Nothing is named in a healthy one; of one with an event too large the hole is."""
    url = f"sqlite:///{tmp_path}/records.db"
    settings = StackSettings(backend=backend, records=url, ready_timeout_s=PATIENCE_S)
    async with Stack(settings) as stack, aiohttp.ClientSession() as http:
        target = Target(stack.console_url, stack.api_key, stack)
        caller = LightCaller(http, target, Identity.make(), PACKETS, echoes=len(PACKETS))
        await caller.place(timeout_s=PATIENCE_S)
        url = f"http://{stack.variables['TRUNKLINE_RECORDS_API_HTTP']}"
        told = await ended_call(http, url, stack.api_key)
        async with http.get(f"{url}/") as page:
            assert "Trunkline calls" in await page.text()
    story = told["story"]
    assert story["diagnosis"]["cause"] == cause, story["diagnosis"]
    assert story["ending"]["words"] == "The caller ended it."
    assert story["head"]["setup"]["connected_ms"] > 0
    assert [line["packets"] for line in story["media"]] == [len(PACKETS)] * 2
