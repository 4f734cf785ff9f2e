"""A call by itself: what its handler may send, and when it has to wait."""

from __future__ import annotations

import asyncio

import pytest

from tests.backends.kit import audio, soon, text
from trunkline.backend import AudioFormat, inbox
from trunkline.backend.call import MAX_DATA_BYTES, WAITING_BYTES, Call, CallOver
from trunkline.backend.outbox import BATCH_BYTES, Outbox
from trunkline.v1 import model_pb2


def _call(credit: int = 50) -> tuple[Call, Outbox, list[Call]]:
    outbox, ended = Outbox(), []
    started = model_pb2.CallStarted(call_id="c", format=1, send_credit=credit)  # type: ignore[arg-type]

    def on_hang_up(call: Call) -> None:
        ended.append(call)
        call.end()

    return Call(1, started, outbox, on_hang_up), outbox, ended


def _said(outbox: Outbox) -> list[str | None]:
    return [event.WhichOneof("event") for batch in outbox.take() for event in batch.events]


async def test_sending_waits_while_too_much_is_unwritten() -> None:
    """A handler that sends without end holds WAITING_BYTES and one message, until they leave."""
    call, outbox, _ = _call()
    size = WAITING_BYTES // 4
    sent: list[int] = []

    async def send_all() -> None:
        for n in range(9):
            await call.send_binary("raw", bytes(size))
            sent.append(n)

    task = asyncio.create_task(send_all())
    for expected in (4, 8, 9):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(sent) == expected
        outbox.take()
    await soon(task)


async def test_one_calls_share_is_not_anothers() -> None:
    """A call that filled its share of the outbox leaves its neighbour's alone."""
    call, outbox, _ = _call()
    started = model_pb2.CallStarted(call_id="d", format=1, send_credit=1)  # type: ignore[arg-type]
    neighbour = Call(2, started, outbox, lambda _: None)
    await call.send_binary("raw", bytes(WAITING_BYTES))
    stuck = asyncio.create_task(call.send_text("chat", "waits"))
    await asyncio.sleep(0)
    await neighbour.send_text("chat", "goes")
    assert not stuck.done()
    assert _said(outbox) == ["data", "data"]
    await soon(stuck)
    assert _said(outbox) == ["data"]


async def test_credit_is_shared_by_all_senders_of_a_call() -> None:
    """Two tasks that send on one call together stay within its credit."""
    call, outbox, _ = _call(credit=3)
    tasks = [asyncio.create_task(call.send_audio(b"x")) for _ in range(5)]
    await asyncio.sleep(0)
    assert [task.done() for task in tasks].count(True) == 3
    call.hear(model_pb2.CallEvent(call=1, credit=model_pb2.Credit(frames=2)))
    await soon(asyncio.gather(*tasks))
    assert _said(outbox) == ["audio"] * 5


async def test_pcm_of_any_length_is_cut_into_frames() -> None:
    """20 ms each in the call's format, the last one filled up with silence."""
    outbox = Outbox()
    started = model_pb2.CallStarted(call_id="c", format=AudioFormat.PCM16_16000, send_credit=9)  # type: ignore[arg-type]
    call = Call(1, started, outbox, lambda _: None)
    await call.send_pcm(b"\1" * 1500)
    frames = [event.audio for batch in outbox.take() for event in batch.events]
    assert [(len(frame.payload), frame.duration) for frame in frames] == [(640, 960)] * 3
    assert b"".join(frame.payload for frame in frames) == b"\1" * 1500 + bytes(420)


async def test_pcm_is_refused_where_the_format_is_opus() -> None:
    """A handler that mixes them up hears it at once."""
    call, _, _ = _call()
    with pytest.raises(ValueError, match="Opus"):
        await call.send_pcm(b"\0\0")


def test_rates_of_the_formats() -> None:
    """In Hz; Opus counts on the clock of its RTP."""
    assert [audio.rate_hz for audio in AudioFormat] == [48_000, 8_000, 16_000, 24_000, 48_000]


async def test_everybody_who_waits_learns_the_end() -> None:
    """Senders, a clear and the reader of a call that ends do not hang."""
    call, _, _ = _call(credit=0)
    waiting = [asyncio.create_task(call.send_audio(b"x")), asyncio.create_task(call.clear())]
    reader = asyncio.create_task(call.next_event())
    await asyncio.sleep(0)
    call.end()
    for task in waiting:
        with pytest.raises(CallOver):
            await soon(task)
    assert await soon(reader) is None
    for send in (call.send_audio(b"x"), call.send_text("l", "t"), call.clear()):
        with pytest.raises(CallOver):
            await send


async def test_what_came_before_the_end_can_still_be_read() -> None:
    """The iterator gives what waits and then stops."""
    call, _, _ = _call()
    call.hear(text(1, "last words"))
    call.end()
    assert [event.text async for event in call.events()] == ["last words"]  # type: ignore[union-attr]


async def test_two_readers_are_refused() -> None:
    """Events would be split between them at random."""
    call, _, _ = _call()
    reader = asyncio.create_task(call.next_event())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two readers"):
        await call.next_event()
    call.hear(audio(1))
    assert (await soon(reader)).payload == b"opus"


async def test_a_message_too_large_to_send() -> None:
    """More than browsers take is the handler's mistake, told at once."""
    call, outbox, _ = _call()
    with pytest.raises(ValueError, match=str(MAX_DATA_BYTES)):
        await call.send_binary("raw", bytes(MAX_DATA_BYTES))
    with pytest.raises(ValueError, match=str(MAX_DATA_BYTES)):
        await call.send_text("chat", "é" * (MAX_DATA_BYTES // 2))
    assert _said(outbox) == []


async def test_unread_data_ends_the_call() -> None:
    """A handler that lets messages pile up beyond the bound loses its call, not a message."""
    call, outbox, ended = _call()
    for _ in range(inbox.MAX_MESSAGES):
        call.hear(text(1, "t"))
    assert ended == []
    call.hear(text(1, "one too many"))
    assert ended == [call]
    (event,) = [event for batch in outbox.take() for event in batch.events]
    assert event.hang_up.reason == "failed"


async def test_hanging_up_twice_says_it_once() -> None:
    """The second reason is not heard."""
    call, outbox, ended = _call()
    call.hang_up("hangup")
    call.hang_up("again")
    assert (ended, _said(outbox), call.over) == ([call], ["hang_up"], True)


async def test_a_round_is_cut_into_messages() -> None:
    """What many calls say in one tick never makes a message near gRPC's limit."""
    outbox = Outbox()
    for number in range(1000):
        outbox.add(number, 1000).audio.payload = bytes(1000)
    batches = outbox.take()
    assert [event.call for batch in batches for event in batch.events] == list(range(1000))
    assert max(batch.ByteSize() for batch in batches) <= BATCH_BYTES


def test_the_repr_tells_no_secret() -> None:
    """It names the call and nothing of its session, since it may stand in a log."""
    started = model_pb2.CallStarted(call_id="c", format=1, session_json='{"key":"secret"}')  # type: ignore[arg-type]
    assert repr(Call(1, started, Outbox(), lambda _: None)) == "<Call c>"
