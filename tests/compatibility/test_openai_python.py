"""The official Python client, unmodified: it makes secrets, and its side band runs a call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from loadtest.callers.aiortc_caller import EVENTS_CHANNEL, SpeechTrack
from loadtest.sound import silence
from tests.backends.openai.stand_in import THINK, answer_of, called
from tests.compatibility.conftest import Service

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client, with another base URL and nothing else."""
    base_url, key = service.api_url, service.stack.api_key
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


class Page:
    """What a web page does: a call with a client secret, and the events on its channel."""

    def __init__(self) -> None:
        self.call_id = ""
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))

    async def call(self, url: str, secret: str) -> None:
        self._peer.addTrack(SpeechTrack(silence(0.1), 0.0))
        channel = self._peer.createDataChannel(EVENTS_CHANNEL)
        channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))
        await self._peer.setLocalDescription(await self._peer.createOffer())
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/sdp"}
        offer = self._peer.localDescription.sdp
        async with aiohttp.ClientSession() as http:
            url = f"{url}/realtime/calls"
            async with http.post(url, data=offer, headers=headers) as response:
                assert response.status == 201, await response.text()
                self.call_id = response.headers["Location"].rsplit("/", 1)[-1]
                answer = await response.text()
        await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while (event := await self.events.get())["type"] != kind:
            pass
        return event

    async def close(self) -> None:
        await self._peer.close()


@pytest.fixture
async def page(service: Service, client: openai.AsyncOpenAI) -> AsyncIterator[Page]:
    """A page with a live call, placed with a secret that the client made."""
    secret = await client.realtime.client_secrets.create(
        session={"type": "realtime", "instructions": "Be brief.", "tools": [WEATHER]},  # type: ignore[arg-type]
        expires_after={"anchor": "created_at", "seconds": 60},
    )
    page = Page()
    await page.call(service.api_url, secret.value)
    yield page
    await page.close()


async def _until(sideband: AsyncRealtimeConnection, kind: str) -> Any:
    while (event := await sideband.recv()).type != kind:
        pass
    return event


async def _say(sideband: AsyncRealtimeConnection, text: str) -> None:
    content: Any = [{"type": "input_text", "text": text}]
    await sideband.conversation.item.create(
        item={"type": "message", "role": "user", "content": content}
    )
    await sideband.response.create()


async def test_a_secret_carries_its_session_into_the_call(page: Page) -> None:
    """The call that a page places with the secret has the session that was bound to it."""
    async with asyncio.timeout(30):
        created = await page.hear("session.created")
    assert created["session"]["instructions"] == "Be brief."
    assert created["session"]["tools"][0]["name"] == "get_weather"


async def test_the_side_band_runs_the_call(
    service: Service, client: openai.AsyncOpenAI, page: Page
) -> None:
    """It changes the session, speaks for the caller, answers a tool call, and hears all of it."""
    asked = service.models.requests[THINK]
    answers = [called("get_weather", '{"city": "Berlin"}'), answer_of("It is ", "raining.")]
    service.models.answers = lambda _: answers[len(asked) - 1]
    async with asyncio.timeout(60), client.realtime.connect(call_id=page.call_id) as sideband:
        created = await _until(sideband, "session.created")
        assert created.session.instructions == "Be brief."
        session: Any = {"type": "realtime", "instructions": "Speak like a pirate."}
        await sideband.session.update(session=session)
        assert (await _until(sideband, "session.updated")).session.tools[0].name == "get_weather"
        await _say(sideband, "How is the weather in Berlin?")
        call = await _until(sideband, "response.function_call_arguments.done")
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Berlin"})
        assert (await _until(sideband, "response.done")).response.usage.total_tokens == 15
        await sideband.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        )
        await sideband.response.create()
        done = await _until(sideband, "response.done")
        assert done.response.output[0].content[0].transcript == "It is raining."
        await _until(sideband, "output_audio_buffer.stopped")
    roles = [message["role"] for message in asked[1].body["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]
    assert asked[0].body["messages"][0]["content"].startswith("Speak like a pirate.")
    heard = [await page.hear("response.done") for _ in range(2)]
    assert heard[1]["response"]["id"] == done.response.id, "the page hears what the side band does"


async def test_a_bad_event_of_the_side_band_is_answered(
    client: openai.AsyncOpenAI, page: Page
) -> None:
    """It gets an error with the id of its event, and the call goes on."""
    async with asyncio.timeout(30), client.realtime.connect(call_id=page.call_id) as sideband:
        await sideband.send({"type": "session.bake", "event_id": "mine"})  # type: ignore[arg-type]
        assert (await _until(sideband, "error")).error.event_id == "mine"
        await sideband.output_audio_buffer.clear()
        await _say(sideband, "Hello?")
        assert (await _until(sideband, "response.done")).response.status == "completed"


async def test_the_client_hangs_up(client: openai.AsyncOpenAI, page: Page) -> None:
    """Hanging up ends the call, and with it the side band."""
    async with asyncio.timeout(30), client.realtime.connect(call_id=page.call_id) as sideband:
        await client.realtime.calls.hangup(page.call_id)
        async for _ in sideband:
            pass
    with pytest.raises(openai.NotFoundError):
        await client.realtime.calls.hangup(page.call_id)


async def test_the_clients_errors_say_what_is_wrong(
    service: Service, client: openai.AsyncOpenAI
) -> None:
    """A refusal reaches the client as its own kind of error, with our words."""
    bad: Any = {"anchor": "created_at", "seconds": 5}
    with pytest.raises(openai.BadRequestError, match="seconds"):
        await client.realtime.client_secrets.create(expires_after=bad)
    stranger = client.with_options(api_key="nobody")
    with pytest.raises(openai.AuthenticationError, match="API key"):
        await stranger.realtime.client_secrets.create()
