"""A call goes on over another stream: its handler does not notice, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.backends.kit import (
    TIMEOUT_S,
    RawTransceiver,
    Sink,
    linked,
    open_call,
    raw_transceiver,
    running_link,
    serving,
    soon,
    text,
)
from transceiver.link.call_handle import CallHandle
from transceiver.link.errors import CallUnknown
from transceiver.link.model_link import ModelLink
from transceiver.link.position import Position
from trunkline.backend import Call, Playout, Text, roster
from trunkline.backend.call import WAITING_BYTES
from trunkline.v1 import model_pb2

TOKEN = bytes(range(16))


class Agent:
    """A handler that keeps what it hears, and lets a test speak for it."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.calls.put_nowait(call)
        try:
            async for event in call.events():
                if isinstance(event, Text):
                    self.heard.put_nowait(event.text)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def two_links(port: int) -> AsyncIterator[tuple[ModelLink, ModelLink]]:
    async with linked(port) as one, linked(port) as two:
        yield one, two


async def resume(
    link: ModelLink, position: Position, *, exact: bool, credit: int = 50
) -> tuple[CallHandle, Sink]:
    sink = Sink()
    handle = link.open_call("call_1", "", sink, credit, 0, resume=position, exact=exact)
    await handle.accepted(TIMEOUT_S)
    return handle, sink


async def move(handle: CallHandle, link: ModelLink) -> tuple[CallHandle, Sink]:
    position = handle.position
    handle.moving()
    return await resume(link, position, exact=True)


def _texts(sink: Sink) -> list[object]:
    return [content for _, content in sink.data]


def _all_texts(sinks: list[Sink]) -> list[object]:
    return [content for sink in sinks for content in _texts(sink)]


async def test_random_moves_lose_nothing_and_repeat_nothing() -> None:
    """Both sides speak all the time, and the call moves to and fro: each message comes once."""
    agent, chance = Agent(), random.Random(5)
    total, sinks, asked = 400, [], 0
    async with serving(agent) as server, two_links(server.port) as links:
        handle, sink = await open_call(links[0])
        sinks.append(sink)
        call = await soon(agent.calls.get())

        async def say() -> None:
            for n in range(total):
                await call.send_text("chat", f"b{n}")
                await asyncio.sleep(chance.random() / 2000)

        saying = asyncio.create_task(say())
        for turn in range(1, 21):
            for _ in range(total // 20):
                handle.send_text("chat", f"t{asked}")
                asked += 1
                await asyncio.sleep(chance.random() / 2000)
            handle, sink = await move(handle, links[turn % 2])
            assert sink.ears
            sinks.append(sink)
        await soon(saying)
        await sinks[-1].until(lambda: f"b{total - 1}" in _all_texts(sinks))
        heard = [await soon(agent.heard.get()) for _ in range(total)]
    assert _all_texts(sinks) == [f"b{n}" for n in range(total)]
    assert heard == [f"t{n}" for n in range(total)]
    assert agent.heard.empty()


async def test_a_call_waits_when_its_stream_breaks() -> None:
    """Its handler runs on, what it says waits, and the next owner hears it."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with running_link(server.port) as dying:
            await soon(dying.until_ready())
            handle, sink = await open_call(dying)
            call = await soon(agent.calls.get())
            await call.send_text("chat", "before")
            await sink.until(lambda: sink.data)
            position = handle.position
        await call.send_text("chat", "meanwhile")
        handle, sink = await resume(link, position, exact=False)
        await sink.until(lambda: sink.data)
        handle.send_text("chat", "again here")
        assert await soon(agent.heard.get()) == "again here"
        assert _texts(sink) == ["meanwhile"]
        assert not agent.cancelled.is_set()
        assert server.calls == [call]


async def test_a_call_that_nobody_resumes_ends() -> None:
    """After hold_ms its handler is cancelled, as it was when the stream broke before."""
    agent = Agent()
    async with serving(agent, hold_ms=20) as server:
        async with linked(server.port) as link:
            await open_call(link)
        await soon(agent.cancelled.wait())
        await soon(server.idle())


async def test_who_was_taken_for_dead_is_not_heard_any_more() -> None:
    """The old stream lives: what it says of the call is passed over, and it hears nothing of it."""
    agent = Agent()
    async with serving(agent) as server, two_links(server.port) as (old_link, new_link):
        old, old_sink = await open_call(old_link)
        other, other_sink = await open_call(old_link, "call_2")
        call, other_call = await soon(agent.calls.get()), await soon(agent.calls.get())
        new, new_sink = await resume(new_link, old.position, exact=False)
        old.send_text("chat", "from the past")
        other.send_text("chat", "alive")
        assert await soon(agent.heard.get()) == "alive"
        await call.send_text("chat", "to the owner")
        await other_call.send_text("chat", "to the other")
        await new_sink.until(lambda: new_sink.data)
        await other_sink.until(lambda: other_sink.data)
        assert (_texts(new_sink), old_sink.data) == (["to the owner"], [])
        new.close("hangup")
        await soon(agent.cancelled.wait())


@pytest.mark.parametrize(
    ("position", "name"),
    [(Position(bytes(16)), "call_1"), (Position(TOKEN), "call_9"), (Position(bytes(3)), "call_1")],
)
async def test_a_call_that_is_not_known(position: Position, name: str) -> None:
    """Another token or another id: the transceiver learns that it must restore the call."""
    agent = Agent()
    async with serving(agent) as server, two_links(server.port) as (old_link, new_link):
        await open_call(old_link)
        handle = new_link.open_call(name, "", Sink(), 50, 0, resume=position)
        with pytest.raises(CallUnknown):
            await handle.accepted(TIMEOUT_S)
        assert len(server.calls) == 1
        assert not agent.cancelled.is_set()


async def test_a_backend_that_holds_nothing() -> None:
    """With hold_ms 0 a call has no token, ends with its stream, and cannot be resumed."""
    agent = Agent()
    async with serving(agent, hold_ms=0) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, _ = await open_call(dying)
            assert not handle.position.resumable
        await soon(agent.cancelled.wait())
        with pytest.raises(CallUnknown):
            link.open_call("call_1", "", Sink(), 50, 0, resume=Position(TOKEN))


async def test_moving_away_from_a_backend_that_holds_nothing_ends_the_call() -> None:
    """It hears `drained`, as before."""
    agent = Agent()
    async with serving(agent, hold_ms=0) as server, linked(server.port) as link:
        handle, _ = await open_call(link)
        handle.moving()
        await soon(agent.cancelled.wait())


async def test_a_hang_up_that_nobody_heard_is_said_again() -> None:
    """The agent hung up while nobody carried the call: who resumes it hears so."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, _ = await open_call(dying)
            call = await soon(agent.calls.get())
            position = handle.position
            handle.moving()
            handle.send_text("chat", "nobody hears this")
        await call.send_text("chat", "bye")
        call.hang_up("hangup")
        _, sink = await resume(link, position, exact=True)
        await sink.until(lambda: sink.hang_ups)
        assert (_texts(sink), sink.hang_ups) == (["bye"], ["hangup"])
        assert server.calls == []


async def test_a_clear_on_its_way_gets_its_answer() -> None:
    """The old owner never saw it; the new one carries it out."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, sink = await open_call(dying)
            call = await soon(agent.calls.get())
            await call.send_audio(b"x")
            await sink.until(lambda: sink.audio)
            position = handle.position
            handle.moving()
        clearing = asyncio.create_task(call.clear())
        await asyncio.sleep(0)
        await call.send_audio(b"y")
        new, sink = await resume(link, position, exact=True)
        await sink.until(lambda: sink.clears)
        new.send_playout(1, 1, 0, 0)
        answer = await soon(clearing)
        await sink.until(lambda: sink.audio)
    assert (answer.clears, answer.sent) == (1, 1)
    assert [payload for payload, _ in sink.audio] == [b"y"]


async def test_credit_is_right_again() -> None:
    """Frames that the new owner has queued count; those that are past do not."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, sink = await open_call(dying, credit=10)
            call = await soon(agent.calls.get())
            speaking = asyncio.create_task(_speak(call, 30))
            await sink.until(lambda: len(sink.audio) == 10)
            handle.send_playout(4, 2, 0, 6)
            handle.send_text("chat", "told")
            assert await soon(agent.heard.get()) == "told"
            position = handle.position
            handle.moving()
        new, sink = await resume(link, position, exact=True, credit=10)
        await sink.until(lambda: len(sink.audio) == 4)
        assert (sink.ears[0].sent_frames, sink.ears[0].acked_frames) == (4, 2)
        new.give_credit(100)
        await soon(speaking)
        await sink.until(lambda: len(sink.audio) == 20)
    assert [payload for payload, _ in sink.audio] == [b"%d" % n for n in range(10, 30)]
    assert link.counters.link_credit_violations == 0


async def test_a_sender_that_waits_for_a_stuck_stream_wakes_up() -> None:
    """A stopped owner reads nothing; when another takes the call, what waited goes there."""
    agent = Agent()
    async with (
        serving(agent) as server,
        linked(server.port) as link,
        stopped_owner(server.port) as position,
    ):
        call = await soon(agent.calls.get())
        flood = asyncio.create_task(_flood(call, 60))
        while call._waiting_bytes < WAITING_BYTES:
            await asyncio.sleep(0)
        _, sink = await resume(link, position, exact=False)
        await soon(flood)
        await sink.until(lambda: len(sink.data) == 60)


async def test_what_a_held_call_says_is_bounded() -> None:
    """A sender waits once WAITING_BYTES wait, until somebody resumes the call."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, _ = await open_call(dying)
            call = await soon(agent.calls.get())
            position = handle.position
            handle.moving()
        while not server._roster.held:
            await asyncio.sleep(0)
        sending = asyncio.create_task(_flood(call, 40))
        while call._waiting_bytes < WAITING_BYTES:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not sending.done()
        _, sink = await resume(link, position, exact=True)
        await soon(sending)
        await sink.until(lambda: len(sink.data) == 40)
    assert [content[:2] for content in _texts(sink)] == [f"{n:<2}" for n in range(40)]  # type: ignore[index]


async def test_held_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond MAX_HELD the one that waits longest ends."""
    monkeypatch.setattr(roster, "MAX_HELD", 2)
    agent = Agent()
    async with serving(agent) as server:
        async with linked(server.port) as link:
            handles = [(await open_call(link, f"call_{n}"))[0] for n in range(3)]
            for handle in handles:
                handle.moving()
            await soon(agent.cancelled.wait())
        assert [call.id for call in server.calls] == ["call_1", "call_2"]


async def test_a_backend_that_leaves_waits_for_nobody() -> None:
    """It takes no new stream, so a held call has no one who could resume it."""
    agent = Agent()
    async with serving(agent) as server:
        async with linked(server.port) as link:
            await open_call(link)
        await soon(server.deserted())
        await server.drain()
        await soon(server.idle())
        assert agent.cancelled.is_set()


async def test_the_rest_of_the_old_stream_is_heard_first() -> None:
    """`exact`: the new stream waits for what the old owner had said before it stopped."""
    agent = Agent()
    async with serving(agent) as server, raw_pair(server.port) as (old, new):
        await _start(old)
        await old.send(text(1, "one"))
        await new.send(_resuming(sent=2), text(7, "three"))
        await old.send(text(1, "two"))
        assert [await soon(agent.heard.get()) for _ in range(3)] == ["one", "two", "three"]
        assert (await new.hear()).accepted.resumed
        await old.send(text(1, "too late"))
        await new.send(text(7, "four"))
        assert await soon(agent.heard.get()) == "four"


async def test_moving_ends_the_wait() -> None:
    """Who says `moving` has said all, even if fewer events came than were expected."""
    agent = Agent()
    async with serving(agent) as server, raw_pair(server.port) as (old, new):
        await _start(old)
        await new.send(_resuming(sent=9))
        await old.send(model_pb2.CallEvent(call=1, moving=model_pb2.Moving()))
        assert (await new.hear()).accepted.resumed


async def test_an_old_stream_that_never_says_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    """After half a second the call goes on without it, and the log says so."""
    agent = Agent()
    async with serving(agent) as server, raw_pair(server.port) as (old, new):
        await _start(old)
        await new.send(_resuming(sent=9))
        assert (await new.hear()).accepted.resumed
    assert "old_stream_incomplete" in [record.msg for record in caplog.records]


async def test_a_new_stream_that_goes_away_while_it_waits() -> None:
    """The call stays where it is."""
    agent = Agent()
    async with serving(agent) as server, raw_transceiver(server.port) as old:
        await old.greet()
        await _start(old)
        async with raw_transceiver(server.port) as new:
            await new.greet()
            await new.send(_resuming(sent=2))
        await old.send(text(1, "one"), text(1, "two"))
        assert [await soon(agent.heard.get()) for _ in range(2)] == ["one", "two"]


async def test_the_playout_is_the_newest_report_of_either_owner() -> None:
    """The handler's view of the ear goes on from where it was."""
    agent = Agent()
    async with serving(agent) as server, two_links(server.port) as links:
        handle, _ = await open_call(links[0])
        call = await soon(agent.calls.get())
        handle, _ = await move(handle, links[1])
        handle.send_playout(3, 2, 1, 0)
        handle.send_text("chat", "told")
        assert await soon(agent.heard.get()) == "told"
        assert call.playout == Playout(3, 2, 1, 0, 0)


@asynccontextmanager
async def raw_pair(port: int) -> AsyncIterator[tuple[RawTransceiver, RawTransceiver]]:
    async with raw_transceiver(port) as old, raw_transceiver(port) as new:
        await old.greet()
        await new.greet()
        yield old, new


@asynccontextmanager
async def stopped_owner(port: int) -> AsyncIterator[Position]:
    """A transceiver that began a call and reads no more."""
    async with raw_transceiver(port) as old:
        await old.greet()
        await _start(old)
        yield Position(TOKEN)


async def _start(old: RawTransceiver) -> None:
    started = model_pb2.CallStarted(
        call_id="call_1", format=model_pb2.AUDIO_FORMAT_OPUS, send_credit=50, resume_token=TOKEN
    )
    await old.send(model_pb2.CallEvent(call=1, started=started))
    assert (await old.hear()).HasField("accepted")


def _resuming(sent: int) -> model_pb2.CallEvent:
    started = model_pb2.CallStarted(
        call_id="call_1",
        format=model_pb2.AUDIO_FORMAT_OPUS,
        send_credit=50,
        resume_token=TOKEN,
        resume=model_pb2.Resume(sent_events=sent, exact=True),
    )
    return model_pb2.CallEvent(call=7, started=started)


async def _speak(call: Call, frames: int) -> None:
    for n in range(frames):
        await call.send_audio(b"%d" % n)


async def _flood(call: Call, messages: int) -> None:
    for n in range(messages):
        await call.send_text("chat", f"{n:<2}".ljust(8000))


async def test_a_call_is_resumed_at_the_process_that_holds_it() -> None:
    """A link that leads to other processes of the backend knows so, without asking."""
    agent = Agent()
    async with serving(agent) as holding, linked(holding.port) as link:
        async with linked(holding.port) as dying:
            handle, _ = await open_call(dying)
            position = handle.position
            handle.moving()
        assert link.reaches(position.instance)
        elsewhere = replace(position, instance="another process")
        assert not link.reaches(elsewhere.instance)
        with pytest.raises(CallUnknown):
            link.open_call("call_1", "", Sink(), 50, 0, resume=elsewhere)
        await resume(link, position, exact=True)


async def test_the_newest_snapshot_is_given_to_the_next_owner() -> None:
    """What was remembered while nobody carried the call is not lost, and is not counted."""
    agent = Agent()
    async with serving(agent) as server, linked(server.port) as link:
        async with linked(server.port) as dying:
            handle, _ = await open_call(dying)
            call = await soon(agent.calls.get())
            call.remember(b"old")
            position = handle.position
            handle.moving()
        call.remember(b"new")
        handle, sink = await resume(link, position, exact=True)
        await sink.until(lambda: sink.snapshots)
        assert sink.snapshots[-1] == b"new"
        assert handle.position.taken_events == position.taken_events
