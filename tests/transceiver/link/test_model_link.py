"""The transceiver's end of the model link, over real gRPC on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from backends.echo import echo
from fleet.backoff import Backoff
from tests.backends.kit import (
    TIMEOUT_S,
    Sink,
    linked,
    open_call,
    running_link,
    scripted,
    serving,
    soon,
    tasks_left,
)
from tests.conftest import free_port
from transceiver.link import call_handle
from transceiver.link import stream as link_stream
from transceiver.link.errors import BackendAbsent, BackendRefused, CallLimit
from transceiver.link.model_link import ModelLink
from transceiver.link.outbox import BATCH_BYTES, Outbox
from trunkline.backend import Audio, AudioFormat, Call, OpusEncoder, Text
from trunkline.v1 import model_pb2


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """A test ends with the tasks it began with."""
    before = asyncio.all_tasks()
    yield
    assert not await tasks_left(before)


async def test_many_calls_at_once_each_hear_themselves_in_order() -> None:
    """Sixty calls share the stream and each gets back its own frames and messages, in order."""
    async with serving(echo) as server, linked(server.port) as link:
        calls = [await open_call(link, f"call_{n}") for n in range(60)]
        for frame in range(40):
            for number, (handle, sink) in enumerate(calls):
                sink.handle = handle
                handle.send_audio(b"%d/%d" % (number, frame), frame * 960, 960)
            await asyncio.sleep(0)
        for number, (handle, _) in enumerate(calls):
            handle.send_text("chat", f"text {number}")
            handle.send_binary("raw", b"binary %d" % number)
        for number, (_, sink) in enumerate(calls):
            await sink.until(lambda sink=sink: len(sink.audio) == 40 and len(sink.data) == 2)  # type: ignore[misc]
            assert sink.audio == [(b"%d/%d" % (number, frame), 960) for frame in range(40)]
            assert sink.data == [("chat", f"text {number}"), ("raw", b"binary %d" % number)]
        assert link.counters.link_credit_violations == 0
        assert link.counters.link_audio_dropped == 0


async def test_backend_describes_itself() -> None:
    """Name, formats and limit of the Welcome stand on the link."""
    formats = (AudioFormat.PCM16_16000, AudioFormat.OPUS)
    backend = serving(echo, name="mine", accepts=formats, max_calls=3)
    async with backend as server, linked(server.port) as link:
        assert link.ready
        assert link.down_reason == ""
        assert (link.backend, link.accepts, link.max_calls) == ("mine", formats, 3)


async def test_what_a_backend_asks_of_the_encoder() -> None:
    """It comes with the acceptance of every call; what is not said is not there."""
    wanted = OpusEncoder(bitrate_bps=48_000, dtx=False)
    async with serving(echo, encoder=wanted) as server, linked(server.port) as link:
        _, sink = await open_call(link)
        assert sink.encoder == model_pb2.OpusEncoder(bitrate_bps=48_000, dtx=False)
        assert not sink.encoder.HasField("complexity")


async def test_what_a_handler_hears() -> None:
    """Times, losses and session travel to the handler unchanged."""
    heard: asyncio.Queue[object] = asyncio.Queue()

    async def handler(call: Call) -> None:
        heard.put_nowait((call.id, call.session_json, call.started_unix_ms, call.audio_format))
        async for event in call.events():
            heard.put_nowait(event)

    async with serving(handler) as server, linked(server.port) as link:
        handle = link.open_call("call_9", '{"voice":"a"}', Sink(), 50, 1234)
        handle.send_audio(b"x", 4294967040, 480, lost=2)
        handle.send_text("chat", "héllo")
        assert await soon(heard.get()) == ("call_9", '{"voice":"a"}', 1234, AudioFormat.OPUS)
        assert await soon(heard.get()) == Audio(b"x", 4294967040, 480, 2)
        assert await soon(heard.get()) == Text("chat", "héllo")


async def test_a_handler_hears_what_a_page_may_set_and_who_speaks() -> None:
    """Nothing of it for a call that no page placed; nothing allowed is not the same as no page."""
    heard: asyncio.Queue[object] = asyncio.Queue()

    async def handler(call: Call) -> None:
        heard.put_nowait(call.page_may_set)
        async for event in call.events():
            heard.put_nowait(event)

    async with serving(handler) as server, linked(server.port) as link:
        for may_set in (None, (), ("instructions", "audio")):
            handle = link.open_call("call_1", "", Sink(), 50, 1234, page_may_set=may_set)
            handle.send_text("chat", "page")
            handle.send_text("chat", "server", from_server=True)
            assert await soon(heard.get()) == may_set
            assert await soon(heard.get()) == Text("chat", "page")
            assert await soon(heard.get()) == Text("chat", "server", from_server=True)


async def test_a_tick_is_one_message() -> None:
    """What all calls say in one tick arrives as one batch."""
    async with scripted() as backend, running_link(backend.port) as link:
        await soon(link.until_ready())
        handles = [link.open_call(f"c{n}", "", Sink(), 50, 0) for n in range(10)]
        await backend.until(lambda: len(backend.heard) == 10)
        backend.batches.clear()
        for handle in handles:
            handle.send_audio(b"x", 0, 960)
        await backend.until(lambda: len(backend.heard) == 20)
        assert backend.batches == [10]


async def test_messages_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said in many ticks of one interval is one message; after a pause nothing waits."""
    async with scripted() as backend, running_link(backend.port) as link:
        await soon(link.until_ready())
        handle = link.open_call("c", "", Sink(), 50, 0)
        await backend.until(lambda: len(backend.heard) == 1)
        backend.batches.clear()
        monkeypatch.setattr(link_stream, "MESSAGE_INTERVAL_S", 0.25)
        for frame in range(20):
            handle.send_audio(b"x", frame * 960, 960)
            await asyncio.sleep(0)
        await backend.until(lambda: len(backend.heard) == 21)
        assert sum(backend.batches) == 20
        assert len(backend.batches) <= 2


async def test_handler_sends_no_further_than_its_credit() -> None:
    """A handler stops at the credit and goes on by as much as is given."""

    async def flood(call: Call) -> None:
        if call.id == "probe":
            return await echo(call)
        while True:
            await call.send_audio(b"x")

    async with serving(flood) as server, linked(server.port) as link:
        handle, sink = await open_call(link, credit=5)
        probe, probe_sink = await open_call(link, "probe")
        await sink.until(lambda: len(sink.audio) >= 5)
        probe.send_text("chat", "there and back")
        await probe_sink.until(lambda: probe_sink.data)
        assert len(sink.audio) == 5
        handle.give_credit(2)
        handle.give_credit(1)
        await sink.until(lambda: len(sink.audio) >= 8)
        probe.send_text("chat", "again")
        await probe_sink.until(lambda: len(probe_sink.data) == 2)
        assert len(sink.audio) == 8
        assert link.counters.link_credit_violations == 0


async def test_frames_beyond_credit_are_delivered_and_counted() -> None:
    """A backend that ignores its credit is heard, and found out."""
    frame = model_pb2.BackendEvent(call=1, audio=model_pb2.Audio(payload=b"x", duration=960))
    async with scripted() as backend, linked(backend.port) as link:
        sink = Sink()
        link.open_call("c", "", sink, 1, 0)
        await backend.until(lambda: backend.heard)
        await backend.say(frame, frame, frame)
        await sink.until(lambda: len(sink.audio) == 3)
        assert link.counters.link_credit_violations == 2


async def test_a_stuck_handler_stalls_nobody_else() -> None:
    """While one handler never looks at its events another call echoes on; memory is bounded."""
    stuck: list[Call] = []

    async def handler(call: Call) -> None:
        if call.id == "stuck":
            stuck.append(call)
            await asyncio.Event().wait()
        await echo(call)

    async with serving(handler) as server, linked(server.port) as link:
        slow, slow_sink = await open_call(link, "stuck")
        quick, quick_sink = await open_call(link, "quick")
        quick_sink.handle = quick
        for _ in range(50):
            for _ in range(10):
                slow.send_audio(b"x", 0, 960)
            before = len(quick_sink.audio)
            quick.send_audio(b"y", 0, 960)
            await quick_sink.until(lambda before=before: len(quick_sink.audio) > before)  # type: ignore[misc]
        assert stuck[0].dropped_frames == 500 - 250
        assert not slow_sink.hang_ups


async def test_an_exception_ends_its_own_call_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler that raises hangs up `failed`; its neighbour lives on."""

    async def handler(call: Call) -> None:
        if call.id == "bad":
            raise RuntimeError("boom")
        await echo(call)

    async with serving(handler) as server, linked(server.port) as link:
        good, good_sink = await open_call(link, "good")
        _, bad_sink = await open_call(link, "bad")
        await bad_sink.until(lambda: bad_sink.hang_ups)
        good.send_text("chat", "still here")
        await good_sink.until(lambda: good_sink.data)
    assert bad_sink.hang_ups == ["failed"]
    failures = [vars(record) for record in caplog.records if record.msg == "handler_failed"]
    assert [entry["call_id"] for entry in failures] == ["bad"]


async def test_the_backend_hangs_up() -> None:
    """The sink hears the reason once, nothing after it, and the handle is inert."""

    async def handler(call: Call) -> None:
        await call.send_text("chat", "bye")
        call.hang_up("client_closed")
        call.hang_up("twice")

    async with serving(handler) as server, linked(server.port) as link:
        handle, sink = await open_call(link)
        await sink.until(lambda: sink.hang_ups)
        assert sink.data == [("chat", "bye")]
        assert sink.hang_ups == ["client_closed"]
        assert not handle.open
        assert link.calls == 0
        handle.send_audio(b"x", 0, 960)
        handle.close("hangup")
    assert sink.hang_ups == ["client_closed"]
    assert sink.losses == 0


async def test_the_session_hangs_up() -> None:
    """`close` cancels the handler, and the sink hears nothing more."""
    cancelled = asyncio.Event()

    async def handler(call: Call) -> None:
        try:
            await echo(call)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(handler) as server, linked(server.port) as link:
        handle, sink = await open_call(link)
        handle.send_text("chat", "unheard")
        handle.close("hangup")
        handle.close("hangup")
        await soon(cancelled.wait())
        assert link.calls == 0
    assert (sink.data, sink.hang_ups, sink.losses) == ([], [], 0)


async def test_closed_before_it_was_accepted() -> None:
    """Who waits for acceptance of a call that is closed meanwhile learns it."""
    async with scripted() as backend, linked(backend.port) as link:
        handle = link.open_call("c", "", Sink(), 50, 0)
        handle.close("hangup")
        with pytest.raises(BackendAbsent):
            await handle.accepted()


async def test_a_refused_call() -> None:
    """A format that the backend does not accept ends in BackendRefused with its reason."""
    async with serving(echo) as server, linked(server.port) as link:
        sink = Sink()
        handle = link.open_call("c", "", sink, 50, 0, audio_format=AudioFormat.PCM16_8000)
        with pytest.raises(BackendRefused, match="audio format not accepted"):
            await handle.accepted(TIMEOUT_S)
        assert link.calls == 0
    assert (sink.hang_ups, sink.losses) == ([], 0)


async def test_an_absent_backend() -> None:
    """Without a backend `open_call` raises at once, and the log says so once for all attempts."""
    link = ModelLink(f"127.0.0.1:{free_port()}", "tr-test")
    with pytest.raises(BackendAbsent, match="not connected yet"):
        link.open_call("c", "", Sink(), 50, 0)
    attempts = asyncio.Semaphore(0)

    def no_wait(*_: object) -> float:
        attempts.release()
        return 0.0

    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        patch.setattr(Backoff, "after", no_wait)
        task = asyncio.create_task(link.run())
        for _ in range(3):
            await soon(attempts.acquire())
        with pytest.raises(BackendAbsent, match="UNAVAILABLE"):
            link.open_call("c", "", Sink(), 50, 0)
        await link.close()
        await soon(task)
    assert [entry["event"] for entry in logs] == ["backend_absent"]


async def test_a_silent_backend() -> None:
    """A backend that never answers CallStarted costs the caller's timeout, no more."""
    async with scripted() as backend, linked(backend.port) as link:
        handle = link.open_call("c", "", Sink(), 50, 0)
        with pytest.raises(BackendAbsent, match="in time"):
            await handle.accepted(0.01)
        handle.close("timeout")
        await backend.until(lambda: backend.kinds() == ["started", "ended"])


async def test_max_calls() -> None:
    """The backend's limit holds, and a call that ends makes room."""
    async with serving(echo, max_calls=2) as server, linked(server.port) as link:
        first, _ = await open_call(link, "a")
        await open_call(link, "b")
        with pytest.raises(CallLimit):
            link.open_call("c", "", Sink(), 50, 0)
        first.close("hangup")
        assert link.calls == 1


async def test_a_killed_backend_is_lost_once_and_comes_back() -> None:
    """SIGKILL mid-call: each sink hears it once; after a restart new calls work, old ones not."""
    port = free_port()
    process = _start_echo(port)
    try:
        async with linked(port) as link:
            old, old_sink = await open_call(link, "old")
            waiting = link.open_call("waiting", "", Sink(), 50, 0)
            process.kill()
            await old_sink.until(lambda: old_sink.losses)
            assert not link.ready
            assert not old.open
            with pytest.raises(BackendAbsent):
                await waiting.accepted(TIMEOUT_S)
            process.wait()
            process = _start_echo(port)
            await soon(link.until_ready())
            new, new_sink = await open_call(link, "new")
            old.send_text("chat", "from the dead")
            new.send_text("chat", "alive")
            await new_sink.until(lambda: new_sink.data)
            assert new.number > old.number
            assert new_sink.data == [("chat", "alive")]
        assert (old_sink.losses, old_sink.data, new_sink.losses) == (1, [], 1)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def _start_echo(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "backends.echo"],
        env={**os.environ, "TRUNKLINE_BACKEND_LISTEN": f"127.0.0.1:{port}"},
        stderr=subprocess.DEVNULL,
    )


async def test_audio_that_waits_is_bounded_and_the_loss_reported() -> None:
    """In one tick a call keeps MAX_CALL_FRAMES; the next frame says how many are missing."""
    limit = call_handle.MAX_CALL_FRAMES
    async with scripted() as backend, linked(backend.port) as link:
        handle = link.open_call("c", "", Sink(), 50, 0)
        for n in range(limit + 30):
            handle.send_audio(b"x", n * 960, 960, lost=n % 2)
        assert link.counters.link_audio_dropped == 30
        await backend.until(lambda: len(backend.heard) == limit + 1)
        handle.send_audio(b"y", 0, 960, lost=1)
        await backend.until(lambda: len(backend.heard) == limit + 2)
        assert backend.heard[-1].audio.lost == 30 + 15 + 1


async def test_all_calls_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the total bound frames are dropped and no further call is opened."""
    monkeypatch.setattr("transceiver.link.outbox.MAX_WAITING_BYTES", 1000)
    async with scripted() as backend, linked(backend.port) as link:
        handles = [link.open_call(f"c{n}", "", Sink(), 50, 0) for n in range(5)]
        for handle in handles:
            for _ in range(5):
                handle.send_audio(bytes(100), 0, 960)
        assert link.counters.link_audio_dropped == 25 - 7  # 5 × 32 + 7 × 132 first pass 1000
        with pytest.raises(BackendAbsent, match="stopped reading"):
            link.open_call("late", "", Sink(), 50, 0)
        await backend.until(lambda: len(backend.heard) == 5 + 7)
        # The backend can have it all before gRPC tells the link that its write is done.
        await opened(link, "again")


async def opened(link: ModelLink, call_id: str) -> None:
    """Open a call as soon as the link has room for one."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            with suppress(BackendAbsent):
                link.open_call(call_id, "", Sink(), 50, 0)
                return
            await asyncio.sleep(0.01)


async def test_data_is_never_lost_silently() -> None:
    """A call whose data can wait no longer ends `failed` on both sides."""
    async with scripted() as backend, linked(backend.port) as link:
        sink = Sink()
        handle = link.open_call("c", "", sink, 50, 0)
        handle.send_binary("raw", bytes(call_handle.MAX_CALL_DATA_BYTES // 2))
        handle.send_binary("raw", bytes(call_handle.MAX_CALL_DATA_BYTES // 2))
        assert not handle.open
        assert sink.hang_ups == []  # not from within the session's own call
        await sink.until(lambda: sink.hang_ups)
        await backend.until(lambda: backend.kinds() == ["started", "data", "ended"])
        assert sink.hang_ups == ["failed"]
        assert backend.heard[-1].ended.reason == "failed"
        assert link.counters.link_data_overflows == 1


async def test_a_session_that_closes_first_is_not_told_of_the_overflow() -> None:
    """After `close` the sink hears nothing, not even what was already on its way to it."""
    async with scripted() as backend, linked(backend.port) as link:
        sink = Sink()
        handle = link.open_call("c", "", sink, 50, 0)
        handle.send_binary("raw", bytes(call_handle.MAX_CALL_DATA_BYTES))
        handle.close("hangup")
        await backend.until(lambda: backend.kinds() == ["started", "ended"])
    assert (sink.hang_ups, sink.losses) == ([], 0)


async def test_reports_of_one_tick_merge() -> None:
    """Credit adds up and the newest playout wins; both leave before the end of the call."""
    async with scripted() as backend, linked(backend.port) as link:
        handle = link.open_call("c", "", Sink(), 50, 0)
        for n in range(1, 4):
            handle.give_credit(n)
            handle.send_playout(n, n - 1, 0, 7)
        await backend.until(lambda: len(backend.heard) == 3)
        assert backend.kinds() == ["started", "credit", "playout"]
        assert backend.heard[1].credit.frames == 6
        playout = backend.heard[2].playout
        assert (playout.sent_frames, playout.acked_frames, playout.queued_frames) == (3, 2, 7)
        handle.send_playout(4, 4, 0, 0)
        handle.close("hangup")
        await backend.until(lambda: len(backend.heard) == 5)
        assert backend.kinds()[3:] == ["playout", "ended"]


async def test_the_newest_word_on_the_network_travels_before_the_playout() -> None:
    """So that a backend that learns of its first frame knows the network too."""
    async with scripted() as backend, linked(backend.port) as link:
        handle = link.open_call("c", "", Sink(), 50, 0)
        handle.send_playout(1, 0, 0, 0)
        handle.send_network(None, 10, 0.0)
        handle.send_network(0.25, 11, 0.5)
        await backend.until(lambda: len(backend.heard) == 3)
        assert backend.kinds() == ["started", "network", "playout"]
        network = backend.heard[1].network
        assert (network.round_trip_ms, network.packets, network.waited_ms) == (250.0, 11, 500.0)
        handle.send_network(None, 12, 0.5)
        await backend.until(lambda: len(backend.heard) == 4)
        assert not backend.heard[3].network.HasField("round_trip_ms")


async def test_clear_is_answered_by_the_playout_after_it() -> None:
    """An older report that was already under way is not taken for the answer to a Clear."""
    answers: asyncio.Queue[object] = asyncio.Queue()

    async def handler(call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Text):
                answers.put_nowait(await call.clear())

    async with serving(handler) as server, linked(server.port) as link:
        handle, sink = await open_call(link)
        handle.send_text("chat", "interrupt")
        handle.send_playout(1, 1, 0, 9)
        await sink.until(lambda: sink.clears)
        handle.send_playout(3, 2, 7, 0)
        answer = await soon(answers.get())
        assert (answer.sent, answer.acked, answer.cleared, answer.queued) == (3, 2, 7, 0)


async def test_a_sink_that_raises_loses_its_call_only() -> None:
    """The call of a faulty sink ends on both sides; the link and its neighbour go on."""

    class Faulty(Sink):
        def on_data(self, label: str, content: str | bytes) -> None:
            raise ValueError("faulty")

    faulty = Faulty()
    async with serving(echo) as server, linked(server.port) as link:
        good, good_sink = await open_call(link)
        bad = link.open_call("bad", "", faulty, 50, 0)
        bad.send_text("chat", "x")
        await faulty.until(lambda: faulty.faults)
        good.send_text("chat", "y")
        await good_sink.until(lambda: good_sink.data)
        assert not bad.open
        assert link.counters.link_sink_failures == 1
    assert [str(error) for error in faulty.faults] == ["faulty"] and not faulty.hang_ups


async def test_a_sink_that_raises_when_told_of_the_loss() -> None:
    """Every other sink still hears that the backend is lost."""

    class Faulty(Sink):
        def on_backend_lost(self) -> None:
            raise ValueError("faulty")

    async with serving(echo) as server, linked(server.port) as link:
        link.open_call("bad", "", Faulty(), 50, 0)
        _, sink = await open_call(link, "good")
    assert sink.losses == 1
    assert link.counters.link_sink_failures == 1


async def test_events_of_unknown_calls_are_counted() -> None:
    """What a backend says about a call that is over touches nobody."""
    async with scripted() as backend, linked(backend.port) as link:
        sink = Sink()
        link.open_call("c", "", sink, 50, 0)
        await backend.until(lambda: backend.heard)
        gone = model_pb2.BackendEvent(call=77, audio=model_pb2.Audio(payload=b"x"))
        here = model_pb2.BackendEvent(call=1, data=model_pb2.Data(label="l", binary=b"b"))
        await backend.say(gone, here)
        await sink.until(lambda: sink.data)
        assert sink.data == [("l", b"b")]
        assert link.counters.link_late_events == 1


async def test_a_message_of_many_events_leaves_the_loop_to_others() -> None:
    """Thousands of events in one message are delivered in turns, all of them, in their order."""
    async with scripted() as backend, linked(backend.port) as link:
        sink, turns = Sink(), 0
        link.open_call("c", "", sink, 50, 0)
        await backend.until(lambda: backend.heard)

        def turn() -> None:
            nonlocal turns
            turns += 0 < len(sink.data) < 3000
            if len(sink.data) < 3000:
                asyncio.get_running_loop().call_soon(turn)

        turn()
        messages = [model_pb2.Data(label="l", text=str(number)) for number in range(3000)]
        await backend.say(*(model_pb2.BackendEvent(call=1, data=data) for data in messages))
        await sink.until(lambda: len(sink.data) == 3000)
        assert [text for _, text in sink.data] == [data.text for data in messages]
        assert turns >= 3000 // link_stream.EVENTS_A_TURN - 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"protocol": 2}, "the backend speaks protocol 2, this process 1"),
        ({"mute": True}, "the backend did not greet back in time"),
    ],
)
async def test_a_backend_that_greets_wrongly(
    options: dict[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another protocol version, or no greeting at all, keeps the link from being ready."""
    monkeypatch.setattr(link_stream, "GREETING_TIMEOUT_S", 0.3 if "mute" in options else 5.0)
    failed = asyncio.Event()
    monkeypatch.setattr(Backoff, "after", lambda *_: failed.set() or 30.0)
    async with scripted(**options) as backend, running_link(backend.port) as link:
        await soon(failed.wait())
        assert not link.ready
        assert link.down_reason == reason


async def test_a_backend_that_rejects_our_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNIMPLEMENTED from the backend is told in its own words."""
    failed = asyncio.Event()
    monkeypatch.setattr(Backoff, "after", lambda *_: failed.set() or 30.0)
    monkeypatch.setattr(link_stream, "PROTOCOL", 9)
    async with serving(echo) as server, running_link(server.port) as link:
        await soon(failed.wait())
        assert "speaks protocol 1, not 9" in link.down_reason


async def test_a_backend_that_greets_and_breaks_is_left_alone_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A greeting does not end the row of failures: only a stream that held does."""
    rows: asyncio.Queue[int] = asyncio.Queue()

    def count(backoff: Backoff, lived_s: float) -> float:
        wait_s = after(backoff, lived_s)
        rows.put_nowait(backoff.failures)
        return min(wait_s, 0.01)

    after = Backoff.after
    monkeypatch.setattr(Backoff, "after", count)
    async with scripted(brief=True) as backend, running_link(backend.port) as link:
        assert [await soon(rows.get()) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert link.counters.link_connects == 5


async def test_a_backend_that_ends_the_stream_is_lost() -> None:
    """A stop of the backend is a loss as a crash is."""
    async with serving(echo) as server, linked(server.port) as link:
        _, sink = await open_call(link)
        await server.stop()
        await sink.until(lambda: sink.losses)
        assert not link.ready


async def test_cancelling_run_ends_it() -> None:
    """The task that runs the link ends cancelled, and open calls hear of the loss."""
    async with serving(echo) as server:
        link = ModelLink(f"127.0.0.1:{server.port}", "tr-test")
        task = asyncio.create_task(link.run())
        await soon(link.until_ready())
        _, sink = await open_call(link)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (sink.losses, link.ready, link.calls) == (1, False, 0)


async def test_a_closed_link_stays_closed() -> None:
    """`close` may come before `run`, and twice."""
    link = ModelLink("127.0.0.1:1", "tr-test")
    await link.close()
    await link.run()
    await link.close()
    assert not link.ready


def test_a_large_round_is_cut_into_messages() -> None:
    """No message grows far beyond BATCH_BYTES, and the order holds across messages."""
    outbox = Outbox()
    for n in range(1000):
        outbox.add(n, 1000).audio.payload = bytes(1000)
    batches = outbox.take()
    assert [event.call for batch, _ in batches for event in batch.events] == list(range(1000))
    assert all(size_bytes <= BATCH_BYTES for _, size_bytes in batches)
    assert outbox.waiting_bytes == 1_000_000
    for _, size_bytes in batches:
        outbox.written(size_bytes)
    assert outbox.waiting_bytes == 0
    assert outbox.take() == []


async def test_the_backend_reports_what_a_call_used() -> None:
    """By the call's public id, as often as it likes; nothing once the call is over."""

    async def handler(call: Call) -> None:
        call.report_usage(input_tokens=7, output_tokens=3, seconds=0.5, price=0.01)
        call.hang_up()
        call.report_usage(input_tokens=1000)

    async with serving(handler) as server, linked(server.port) as link:
        used: list[tuple[str, model_pb2.Usage]] = []
        link.on_usage = lambda call_id, usage: used.append((call_id, usage))
        _, sink = await open_call(link, "rtc_1")
        await sink.until(lambda: sink.hang_ups)
    usage = model_pb2.Usage(input_tokens=7, output_tokens=3, seconds=0.5, price=0.01)
    assert used == [("rtc_1", usage)]


async def test_how_calls_are_answered_is_heard() -> None:
    """Nothing in time, yes, and no; a call that its caller gave up says nothing of the backend."""
    heard: list[object] = []
    async with scripted() as backend, linked(backend.port) as link:
        link.on_answer = heard.append
        silent, given_up, taken, refused = (
            link.open_call(name, "", Sink(), 1, 0) for name in ("a", "b", "c", "d")
        )
        with pytest.raises(BackendAbsent):
            await silent.accepted(0.01)
        silent.close("failed")
        given_up.close("client_closed")
        await backend.until(lambda: len(backend.heard) >= 6)
        await backend.say(
            model_pb2.BackendEvent(call=taken.number, accepted=model_pb2.Accepted()),
            model_pb2.BackendEvent(call=refused.number, refused=model_pb2.Refused(reason="no")),
        )
        await taken.accepted(TIMEOUT_S)
        with pytest.raises(BackendRefused):
            await refused.accepted(TIMEOUT_S)
    assert [type(error) for error in heard] == [BackendAbsent, type(None), BackendRefused]
