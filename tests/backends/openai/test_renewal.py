"""A call that goes on while the session upstream, or the bridge itself, is replaced."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from backends.openai_realtime.bridge import converse
from backends.openai_realtime.known import Known, KnownUnreadable, read
from backends.openai_realtime.translate import GO_ON
from backends.openai_realtime.upstream import Realtime
from tests.backends.kit import TIMEOUT_S, linked, serving
from tests.backends.openai.test_realtime_bridge import Caller
from tests.backends.openai.upstream_stand_in import UpstreamStandIn, upstream_stand_in
from trunkline.backend import AudioFormat, Call
from trunkline.backend.restored import MAX_SNAPSHOT_BYTES
from trunkline.v1 import model_pb2

SESSION = json.dumps({"instructions": "Be brief.", "audio": {"output": {"voice": "ash"}}})
FOR_EVER = 3600.0


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamStandIn]:
    async with upstream_stand_in() as server:
        yield server


@asynccontextmanager
async def calling(
    url: str, renew_s: float = FOR_EVER, restored: model_pb2.Restored | None = None
) -> AsyncIterator[tuple[Caller, list[str]]]:
    """A call through the bridge, and why its sessions were renewed."""
    realtime = Realtime(url, SecretStr("upstream-key"), "gpt-realtime")
    renewals: list[str] = []

    async def handler(call: Call) -> None:
        await converse(call, realtime, renew_s, renewals.append)

    caller = Caller()
    accepts = (AudioFormat.PCM16_24000,)
    async with serving(handler, accepts=accepts) as server, linked(server.port) as link:
        pcm = AudioFormat.PCM16_24000.value
        caller.call = link.open_call("c", SESSION, caller, 500, 0, pcm, restored=restored)
        await caller.call.accepted(TIMEOUT_S)
        yield caller, renewals
    await realtime.close()


def message(item_id: str, role: str, words: str) -> dict[str, Any]:
    kind = "output_audio" if role == "assistant" else "input_audio"
    content = [{"type": kind, "transcript": words}]
    return {
        "id": item_id,
        "type": "message",
        "role": role,
        "status": "completed",
        "content": content,
    }


async def add(upstream: UpstreamStandIn, item: dict[str, Any]) -> None:
    await upstream.say("conversation.item.added", previous_item_id=None, item=item)
    await upstream.say("conversation.item.done", previous_item_id=None, item=item)


async def talk(upstream: UpstreamStandIn, caller: Caller) -> None:
    """The caller says its name, and is answered."""
    await upstream.hear("session.update")
    await add(upstream, message("item_a", "user", "My name is Ada."))
    await add(upstream, message("item_b", "assistant", "Hello Ada."))
    await caller.until(lambda: "item_b" in str(caller.data))


async def begin_to_answer(upstream: UpstreamStandIn, caller: Caller, frames: int = 50) -> None:
    await upstream.say("response.created", response={"id": "resp_1"})
    item = {**message("item_1", "assistant", ""), "content": [], "status": "in_progress"}
    await upstream.say("conversation.item.added", previous_item_id="item_b", item=item)
    names = {"response_id": "resp_1", "item_id": "item_1"}
    for words in ("One two three four five ", "six seven eight nine ten."):
        await upstream.say("response.output_audio_transcript.delta", **names, delta=words)
        await upstream.speak(frames // 2)
    await caller.until(lambda: len(caller.audio) == frames)


async def next_session(upstream: UpstreamStandIn, items: int = 2) -> list[dict[str, Any]]:
    """What a session is told first: its settings, and the items of the conversation."""
    told = [await upstream.hear("session.update")]
    while len(told) < 1 + items:
        told.append(await upstream.hear("conversation.item.create"))
    return told


def words_of(told: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    items = [event["item"] for event in told[1:]]
    return [(i["role"], i["content"][0]["type"], i["content"][0]["text"]) for i in items]


NAMES = [("user", "input_text", "My name is Ada."), ("assistant", "output_text", "Hello Ada.")]


async def test_a_session_that_is_lost_is_told_all_again(upstream: UpstreamStandIn) -> None:
    """Settings and items; the caller sees no second session, and none of its items twice."""
    async with calling(upstream.url) as (caller, renewals):
        await talk(upstream, caller)
        await upstream.cut()
        told = await next_session(upstream)
        assert told[0]["session"]["instructions"] == "Be brief."
        assert told[0]["session"]["audio"]["output"]["voice"] == "ash"
        assert words_of(told) == NAMES
        seen = len(caller.data)
        await upstream.say("session.updated", session=told[0]["session"])
        for event in told[1:]:
            await add(upstream, event["item"])
        await upstream.say("error", error={"code": "x", "event_id": told[1]["event_id"]})
        await upstream.say("rate_limits.updated", rate_limits=[])
        await caller.until_told("rate_limits.updated")
        assert caller.kinds[seen:] == ["rate_limits.updated"]
        assert renewals == ["lost"] and not caller.hang_ups
        caller.speak()
        await upstream.hear("input_audio_buffer.append")


async def test_an_answer_that_was_cut_upstream_goes_on(upstream: UpstreamStandIn) -> None:
    """The response ends as incomplete, what came is heard, and the next session goes on with it."""
    async with calling(upstream.url) as (caller, _):
        await talk(upstream, caller)
        await begin_to_answer(upstream, caller)
        await upstream.cut()
        asked = await upstream.hear("response.create")
        assert asked["response"]["instructions"] == f"Be brief.\n\n{GO_ON}"
        done = await caller.until_told("response.done")
        assert (done["response"]["id"], done["response"]["status"]) == ("resp_1", "incomplete")
        await upstream.say("response.created", response={"id": "resp_2"})
        await upstream.speak(5, "resp_2", "item_2")
        await caller.until(lambda: len(caller.audio) == 55)


async def test_an_answer_that_had_not_begun_is_asked_for_again(upstream: UpstreamStandIn) -> None:
    """Without a word of it there is nothing to go on from."""
    async with calling(upstream.url) as (caller, _):
        await talk(upstream, caller)
        await upstream.say("response.created", response={"id": "resp_1"})
        await caller.until_told("response.created")
        await upstream.cut()
        assert "response" not in await upstream.hear("response.create")


async def test_what_the_caller_was_saying_is_said_again(upstream: UpstreamStandIn) -> None:
    """The sound of the turn that was under way goes to the next session."""
    async with calling(upstream.url) as (caller, _):
        await talk(upstream, caller)
        for _ in range(5):
            caller.speak()
        for _ in range(5):
            await upstream.hear("input_audio_buffer.append")
        await upstream.say("input_audio_buffer.speech_started", item_id="i", audio_start_ms=0)
        await caller.until_told("input_audio_buffer.speech_started")
        await upstream.cut()
        for _ in range(5):
            append = await upstream.hear("input_audio_buffer.append")
            assert len(base64.b64decode(append["audio"])) == 960


async def test_an_old_session_is_renewed_between_two_turns(upstream: UpstreamStandIn) -> None:
    """Not while an answer is given; then at once, and the caller notices nothing."""
    async with calling(upstream.url, renew_s=0.3) as (caller, renewals):
        await upstream.hear("session.update")
        await upstream.say("response.created", response={"id": "resp_1"})
        await add(upstream, message("item_a", "user", "My name is Ada."))
        await add(upstream, message("item_b", "assistant", "Hello Ada."))
        await asyncio.sleep(0.5)  # older than it may be
        assert not renewals
        await upstream.say("response.done", response={"id": "resp_1"})
        told = await next_session(upstream)
        assert words_of(told) == NAMES
        await upstream.left.wait()
        assert renewals[0] == "age"
        assert caller.kinds.count("session.created") == 1 and not caller.hang_ups


async def test_an_old_session_is_kept_where_no_other_can_be_had(upstream: UpstreamStandIn) -> None:
    """It is old, and it works: the call goes on with it."""
    async with calling(upstream.url, renew_s=0.2) as (caller, renewals):
        await upstream.connected.wait()
        upstream.refuse_with = 429
        await talk(upstream, caller)
        async with asyncio.timeout(TIMEOUT_S):
            while len(upstream.keys) < 2:
                await asyncio.sleep(0.01)
        caller.speak()
        await upstream.hear("input_audio_buffer.append")
        assert not renewals and not caller.hang_ups


def lost(caller: Caller, sent: int = 0, queued: int = 0) -> model_pb2.Restored:
    playout = model_pb2.Playout(sent_frames=sent, queued_frames=queued)
    return model_pb2.Restored(snapshot=caller.snapshots[-1], playout=playout, losses=1)


async def test_another_bridge_goes_on(upstream: UpstreamStandIn) -> None:
    """It tells its own session all that was said, and the caller nothing."""
    async with calling(upstream.url) as (caller, _):
        await talk(upstream, caller)
        await caller.until(lambda: b"Hello Ada." in caller.snapshots[-1])
        restored = lost(caller)
    while not upstream.heard.empty():
        upstream.heard.get_nowait()
    async with calling(upstream.url, restored=restored) as (caller, _):
        assert words_of(await next_session(upstream)) == NAMES
        await upstream.say("rate_limits.updated", rate_limits=[])
        await caller.until_told("rate_limits.updated")
        assert caller.kinds == ["rate_limits.updated"]


async def test_another_bridge_goes_on_where_the_ear_was(upstream: UpstreamStandIn) -> None:
    """Of an answer that was cut it keeps the words that were heard, and asks for the rest."""
    async with calling(upstream.url) as (caller, _):
        await talk(upstream, caller)
        await begin_to_answer(upstream, caller)
        await caller.until(lambda: b"ten." in caller.snapshots[-1])
        restored = lost(caller, 15, 10)  # half of it
    while not upstream.heard.empty():
        upstream.heard.get_nowait()
    async with calling(upstream.url, restored=restored) as (caller, _):
        told = await next_session(upstream, items=3)
        asked = await upstream.hear("response.create")
        assert asked["response"]["instructions"].endswith(GO_ON)
        assert words_of(told)[:2] == NAMES
        assert words_of(told)[2] == ("assistant", "output_text", "One two three four five ")
        truncated = await caller.until_told("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 500
        done = await caller.until_told("response.done")
        assert done["response"]["status"] == "incomplete"


async def test_a_foreign_snapshot_begins_anew(upstream: UpstreamStandIn) -> None:
    """The session is the caller's own, as of a new call."""
    restored = model_pb2.Restored(snapshot=b'{"version": 7}', losses=1)
    async with calling(upstream.url, restored=restored) as (caller, _):
        assert (await upstream.hear("session.update"))["session"]["instructions"] == "Be brief."
        await caller.until_told("session.created")


def test_what_is_known_is_bounded() -> None:
    """Long conversations leave their oldest items out, and never more than a snapshot may have."""
    known = Known()
    for number in range(700):
        item = message(f"item_{number}", "user", f"{number} " + "x" * 2000)
        known.heard({"type": "conversation.item.added", "item": item})
    written = known.export("", None)
    assert len(written) <= MAX_SNAPSHOT_BYTES
    kept = read(written).items
    assert kept[-1].item["id"] == "item_699" and len(kept) > 100
    huge = {"type": "session.update", "session": {"instructions": "x" * 300_000}}
    known.told(huge)
    assert known.session == {}


@pytest.mark.parametrize(
    ("written", "why"),
    [(b"", "json_invalid"), (b"[]", "dataclass"), (b"x" * (MAX_SNAPSHOT_BYTES + 1), "more than")],
)
def test_foreign_bytes_are_refused_in_a_line(written: bytes, why: str) -> None:
    """It says what does not fit, and quotes nothing."""
    with pytest.raises(KnownUnreadable, match=why):
        read(written)
