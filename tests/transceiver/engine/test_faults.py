"""Whatever raises in one call ends that call, and the call beside it plays on.

Each place is broken by itself in a live call on a real engine: its function is replaced by one that
raises. The last tests find ways into a session that nobody has put on the list.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiortc.rtcsctptransport
import pytest
from structlog.testing import capture_logs

import transceiver
from tests.fuzz.street import FRAME_S, Neighbour, Street, residue
from tests.transceiver.caller import AWAY, HOME, FakeLink, make_offer
from tests.virtual_time import Run
from transceiver.call.session import Session
from transceiver.call.sidebands import EVENTS_LABEL
from transceiver.call.states import State
from transceiver.counters import Counted
from transceiver.data.sctp import Association
from transceiver.engine.refusals import CallFailed
from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.counters import LinkCounters
from transceiver.link.model_link import ModelLink
from transceiver.link.outbox import Outbox
from trunkline.v1 import model_pb2
from wire.rtcp import ReceiverReport

PCM = model_pb2.AUDIO_FORMAT_PCM16_16000
OPUS = model_pb2.AUDIO_FORMAT_OPUS
ELSEWHERE = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 77)) + (5000).to_bytes(2)


class Carrier:
    """A stream of the model link without gRPC; the link that it is one of, too."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.counters = LinkCounters()
        self.on_answer: Callable[[object], None] = lambda _: None
        self.on_usage: Callable[[str, object], None] = lambda *_: None
        self.on_recorded: Callable[[str, object], None] = lambda *_: None
        self.link: Any = self
        self.forgotten: list[int] = []

    def forget(self, number: int) -> None:
        """Note it."""
        self.forgotten.append(number)

    def deliver(self, handle: CallHandle, **event: Any) -> None:
        """What a backend says of the call."""
        handle.deliver(model_pb2.BackendEvent(call=handle.number, **event))


class Scene:
    """A victim and a neighbour on one engine; `boom` is what raises in the victim."""

    def __init__(self, error: type[Exception], audio_format: int) -> None:
        self.error = error
        self.audio_format = audio_format
        self.raised = 0
        self.ended: list[str] = []

    async def begin(self) -> Scene:
        self.street = Street()
        self.engine = self.street.engine
        self.neighbour = await Neighbour.moves_in(self.street)
        moved_in = await self.street.move_in(AWAY, audio_format=self.audio_format)
        self.caller, self.victim, _ = moved_in
        self.engine.listen_ended(self.ended.append)
        self.carrier = Carrier()
        carrier = cast(Any, self.carrier)
        self.handle = CallHandle(carrier, 7, self.victim.call_id, cast(CallSink, self.victim))
        self.victim.line.join(self.handle)
        return self

    def boom(self, *_: object, **__: object) -> Any:
        """Raise, where a function of ours would have worked."""
        self.raised += 1
        raise self.error("broken by the test")

    def broken(self, owner: Any, name: str) -> None:
        """Replace a function by one that raises."""
        setattr(owner, name, self.boom)

    @property
    def channels(self) -> Any:
        return self.victim._messages.channels

    @property
    def association(self) -> Any:
        return self.channels._association

    async def frames(self, count: int) -> None:
        """Time passes; the neighbour speaks."""
        for _ in range(count):
            self.neighbour.speak()
            await self.street.step(FRAME_S)


# The caller's packets.


async def rtp(scene: Scene) -> None:
    scene.broken(scene.victim._audio, "receive_rtp")
    scene.caller.say()


async def rtp_behind_a_handshake(scene: Scene) -> None:
    scene.broken(scene.victim._audio, "receive_rtp")
    scene.engine._handshakes_are_due = True
    scene.engine._loop.call_soon(scene.engine._shake_hands)
    scene.caller.say()


async def rtcp(scene: Scene) -> None:
    scene.broken(scene.victim._audio, "receive_rtcp")
    scene.caller.report(ReceiverReport(1, ()))


async def stun(scene: Scene) -> None:
    scene.broken(scene.victim._ice, "handle")
    scene.caller.check()


async def dtls(scene: Scene) -> None:
    scene.broken(scene.victim._transport._dtls, "handle_datagram")
    scene.caller.channels.send(EVENTS_LABEL, "x")  # type: ignore[union-attr]


async def handshake(scene: Scene) -> None:
    association = cast(Any, scene.victim._transport._dtls)
    association._phase = type(association._phase).HANDSHAKE
    await dtls(scene)


async def sctp(scene: Scene) -> None:
    scene.broken(scene.association, "_handle_data")
    scene.caller.channels.send(EVENTS_LABEL, "x")  # type: ignore[union-attr]


async def message(scene: Scene) -> None:
    scene.broken(scene.victim, "_on_message")
    scene.victim._messages._heard = scene.victim._on_message
    scene.caller.channels.send(EVENTS_LABEL, "x")  # type: ignore[union-attr]


async def message_to_the_backend(scene: Scene) -> None:
    scene.victim.line.join(cast(CallHandle, SimpleNamespace(send_text=scene.boom, close=ok)))
    scene.caller.channels.send(EVENTS_LABEL, "x")  # type: ignore[union-attr]


async def channel_opened(scene: Scene) -> None:
    scene.broken(scene.victim._messages._waiting, "take")
    scene.caller.channels.open("another")  # type: ignore[union-attr]


async def decoder(scene: Scene) -> None:
    broken = SimpleNamespace(decode=scene.boom, conceal=scene.boom)
    scene.victim._voice._pcm._decoder = cast(Any, broken)  # type: ignore[union-attr]
    scene.caller.say(b"\xf8" + bytes(20))
    scene.caller.say(b"\xf8" + bytes(20))


async def opus_header(scene: Scene) -> None:
    scene.broken(scene.victim._voice, "hear")
    scene.caller.say()


async def sound_to_the_backend(scene: Scene) -> None:
    scene.victim.line.join(cast(CallHandle, SimpleNamespace(send_audio=scene.boom, close=ok)))
    scene.caller.say()


# Time.


async def tick(scene: Scene) -> None:
    scene.broken(scene.victim._audio, "poll")


async def window(scene: Scene) -> None:
    scene.broken(scene.victim._audio.window, "expire")


async def deadlines(scene: Scene) -> None:
    scene.broken(scene.victim._ice, "expired")


async def next_deadline(scene: Scene) -> None:
    scene.broken(scene.victim._audio, "due_s")


async def dtls_timer(scene: Scene) -> None:
    association = cast(Any, scene.victim._transport._dtls)
    association._phase = type(association._phase).HANDSHAKE
    scene.victim.state = State.CONNECTING
    scene.broken(association, "handle_timeout")


async def srtp(scene: Scene) -> None:
    scene.broken(scene.victim._audio._srtp, "protect_rtcp")


async def sctp_t1(scene: Scene) -> None:
    scene.broken(scene.association, "_set_state")
    scene.association._t1_start(aiortc.rtcsctptransport.CookieEchoChunk())
    scene.association._t1_failures = 100


async def sctp_t2(scene: Scene) -> None:
    scene.broken(scene.association, "_set_state")
    scene.association._t2_start(aiortc.rtcsctptransport.ShutdownAckChunk())
    scene.association._t2_failures = 100


async def sctp_t3(scene: Scene) -> None:
    scene.broken(scene.association, "_update_advanced_peer_ack_point")
    scene.association._t3_start()


async def sctp_reconfig_timer(scene: Scene) -> None:
    scene.broken(scene.association, "_set_state")
    scene.association._reconfig_request = object()
    scene.association._reconfig_timer_start()
    scene.association._reconfig_failures = 100


async def sctp_hole_timer(scene: Scene) -> None:
    scene.association._hole_tsn = scene.association._last_received_tsn
    scene.broken(scene.association, "_deliver_behind")
    scene.association._mind_hole(scene.association._last_received_tsn + 5)


async def sctp_task(scene: Scene) -> None:
    scene.broken(scene.association, "_send")
    scene.channels.send(EVENTS_LABEL, "x")


async def sctp_transmission(scene: Scene) -> None:
    scene.association._sent_queue = None
    scene.raised += 1
    await asyncio.create_task(scene.association._transmit())


async def sctp_reset(scene: Scene) -> None:
    scene.broken(scene.association, "_send_reconfig_param")
    scene.association._reconfig_queue = [1]
    await asyncio.create_task(scene.association._transmit_reconfig())


async def sctp_packet(scene: Scene) -> None:
    scene.broken(scene.association._RTCSctpTransport__transport, "_send_data")
    scene.channels.send(EVENTS_LABEL, "x")


# The backend.


async def backend_audio(scene: Scene) -> None:
    scene.broken(scene.victim._voice, "put")
    scene.carrier.deliver(scene.handle, audio=model_pb2.Audio(payload=b"\xf8v", duration=960))


async def encoder(scene: Scene) -> None:
    sender = scene.victim._audio.sender
    sender._encode = scene.boom
    audio = model_pb2.Audio(payload=bytes(640), duration=960)
    scene.carrier.deliver(scene.handle, audio=audio)


async def backend_data(scene: Scene) -> None:
    scene.broken(scene.victim._messages, "tell")
    scene.carrier.deliver(scene.handle, data=model_pb2.Data(label="l", text="t"))


async def backend_resumed(scene: Scene) -> None:
    scene.broken(scene.victim._voice, "carry_on")
    scene.carrier.deliver(scene.handle, accepted=model_pb2.Accepted(resumed=True))


async def backend_clear(scene: Scene) -> None:
    scene.broken(scene.victim._voice, "clear")
    scene.carrier.deliver(scene.handle, clear=model_pb2.Clear())


async def backend_accepted(scene: Scene) -> None:
    scene.carrier.on_answer = scene.boom
    scene.carrier.deliver(scene.handle, accepted=model_pb2.Accepted())


async def backend_encoder(scene: Scene) -> None:
    scene.broken(scene.victim._voice, "write_as")
    accepted = model_pb2.Accepted(encoder=model_pb2.OpusEncoder(complexity=3))
    scene.carrier.deliver(scene.handle, accepted=accepted)


async def backend_usage(scene: Scene) -> None:
    scene.carrier.on_usage = scene.boom
    scene.carrier.deliver(scene.handle, usage=model_pb2.Usage(input_tokens=1))


async def backend_hang_up(scene: Scene) -> None:
    scene.broken(scene.victim, "dismiss")
    scene.carrier.deliver(scene.handle, hang_up=model_pb2.HangUp(reason="drained"))


async def backend_lost(scene: Scene) -> None:
    scene.broken(scene.victim._audio.sender, "clear")
    scene.handle.lose()


async def backend_lost_answer(scene: Scene) -> None:
    scene.carrier.on_answer = scene.boom
    scene.handle.lose()


async def report_to_the_backend(scene: Scene) -> None:
    scene.handle.send_playout(1, cast(int, "no number"), 0, 0)
    scene.raised += 1
    scene.carrier.outbox.take()


async def overflow_told(scene: Scene) -> None:
    scene.broken(scene.victim, "_say_bye")
    scene.handle.send_binary("l", bytes(2 << 20))


# Those who ask by HTTP, gRPC, or from another process.


async def restart(scene: Scene) -> None:
    scene.broken(scene.victim._ice, "restart")
    assert scene.victim.restart_ice("theirs", "p" * 24) is None


async def sideband_speaks(scene: Scene) -> None:
    scene.victim.line.join(cast(CallHandle, SimpleNamespace(send_text=scene.boom, close=ok)))
    scene.victim.hear_sideband("{}", from_server=False)


async def sideband_hears(scene: Scene) -> None:
    listener = SimpleNamespace(hear=scene.boom, call_ended=ok)
    scene.victim.sidebands.join(cast(Any, listener))
    scene.carrier.deliver(scene.handle, data=model_pb2.Data(label=EVENTS_LABEL, text="{}"))


async def snapshot(scene: Scene) -> None:
    scene.broken(scene.victim, "snapshot")
    assert [shown.call_id for shown in scene.engine.snapshots()] == [neighbour_of(scene).call_id]


async def snapshot_of_one(scene: Scene) -> None:
    scene.broken(scene.victim, "snapshot")
    assert scene.engine.snapshot(scene.victim.call_id) is None


async def checkpoint(scene: Scene) -> None:
    scene.broken(scene.victim._ice, "export")
    assert scene.engine.checkpoint(scene.victim.call_id) is None


async def hand_over(scene: Scene) -> None:
    scene.broken(scene.victim._messages, "export")
    assert scene.engine.hand_over(scene.victim.call_id) is None


async def dismissed(scene: Scene) -> None:
    scene.broken(scene.victim, "_say_goodbye")
    assert scene.engine.dismiss(scene.victim.call_id, "operator")


async def dismissed_with_all(scene: Scene) -> None:
    scene.broken(scene.victim, "dismiss")
    setattr(neighbour_of(scene), "dismiss", ok)  # noqa: B010 - a method, to mypy
    scene.engine.dismiss_all("drained")


async def address_taken_over(scene: Scene) -> None:
    scene.broken(scene.victim._ice, "forget")
    scene.neighbour.caller.check()
    scene.street.up([(AWAY, scene.neighbour.caller.out.pop())])
    scene.neighbour.caller.check()


PLACES: dict[str, tuple[Callable[[Scene], Any], int]] = {
    place.__name__: (place, audio_format)
    for audio_format, places in (
        (
            OPUS,
            (
                *(rtp, rtp_behind_a_handshake, rtcp, stun, dtls, handshake, sctp, message),
                *(message_to_the_backend, channel_opened, opus_header, sound_to_the_backend),
                *(tick, window, deadlines, next_deadline, dtls_timer, srtp),
                *(sctp_t1, sctp_t2, sctp_t3, sctp_reconfig_timer, sctp_hole_timer),
                *(sctp_task, sctp_transmission, sctp_reset, sctp_packet),
                *(backend_audio, backend_data, backend_clear, backend_accepted, backend_encoder),
                backend_resumed,
                *(backend_usage, backend_hang_up, backend_lost, backend_lost_answer),
                *(report_to_the_backend, overflow_told, restart, sideband_speaks, sideband_hears),
                *(snapshot, snapshot_of_one, checkpoint, hand_over, dismissed),
                *(dismissed_with_all, address_taken_over),
            ),
        ),
        (PCM, (decoder, encoder)),
    )
    for place in places
}


def ok(*_: object) -> None:
    """Works."""


def neighbour_of(scene: Scene) -> Session:
    return next(call for call in scene.engine.calls() if call is not scene.victim)


@pytest.mark.parametrize("error", [ValueError, MemoryError])
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_ends_its_call_and_no_other(run: Run, place: str, error: type[Exception]) -> None:
    """Counted, logged once with its id; nothing of it is left, and the neighbour misses nothing."""
    breaks, audio_format = PLACES[place]

    async def scenario() -> None:
        scene = await Scene(error, audio_format).begin()
        await scene.frames(5)
        with capture_logs() as logs:
            await breaks(scene)
            await scene.frames(200)
        assert scene.raised
        assert (scene.victim.state, scene.victim.end_reason) == (State.ENDED, "failed")
        assert scene.ended == [scene.victim.call_id]
        failures = [entry for entry in logs if entry["log_level"] in ("error", "critical")]
        assert [(f["event"], f["call_id"]) for f in failures] == [
            ("call_failed", scene.victim.call_id)
        ]
        assert scene.engine.counters[Counted.CALL_FAULTS] >= 1
        assert scene.engine.counters["call_ended_failed"] == 1
        assert scene.engine._alarm.timer is not None
        assert scene.carrier.forgotten or scene.victim.handle is None
        kept = residue(scene.street)
        assert (kept["calls"], kept["ufrags"], kept["paths"]) == (1, 1, 1 + (place == TAKEN_OVER))
        await leave(scene)

    run(scenario())


TAKEN_OVER = "address_taken_over"  # the neighbour has two addresses then


async def leave(scene: Scene) -> None:
    """The neighbour has no complaint; the engine closes."""
    await scene.caller.hang_up()
    for _ in range(20):
        await scene.street.step(FRAME_S)
    complaints = scene.neighbour.complaints()
    await scene.neighbour.caller.hang_up()
    await scene.engine.close()
    assert not complaints and len(scene.neighbour.sent) > 50


ENDINGS = (
    *("_say_bye", "_messages.channels._association.stop", "_transport.close", "_close_link"),
    *("_parts.collect_counters", "_messages.release"),
)


@pytest.mark.parametrize("step", ENDINGS)
def test_an_end_that_fails_half_way_is_an_end(run: Run, step: str) -> None:
    """Whichever step of an ending raises, the others are taken and nothing of the call is left."""

    async def scenario() -> None:
        scene = await Scene(ValueError, OPUS).begin()
        heard: list[str] = []
        listener = SimpleNamespace(hear=ok, call_ended=lambda: heard.append("ended"))
        scene.victim.sidebands.join(cast(Any, listener))
        owner, _, name = step.rpartition(".")
        scene.broken(attrgetter(owner)(scene.victim) if owner else scene.victim, name)
        with capture_logs() as logs:
            assert scene.engine.end(scene.victim.call_id, "hangup")
        assert scene.victim.end_reason == "hangup"
        assert heard == ([] if name == "release" else ["ended"])
        assert [e["event"] for e in logs if e["log_level"] == "error"] == ["call_failed"]
        kept = residue(scene.street)
        assert (kept["calls"], kept["ufrags"], kept["paths"]) == (1, 1, 1)
        await scene.frames(60)
        await leave(scene)

    run(scenario())


def test_listeners_of_ended_calls_that_raise(run: Run) -> None:
    """A listener that raises keeps no other from hearing, nor the call from ending."""

    async def scenario() -> None:
        scene = await Scene(ValueError, OPUS).begin()
        scene.engine._ended_listeners.insert(0, scene.boom)
        broken = SimpleNamespace(hear=ok, call_ended=scene.boom)
        scene.victim.sidebands.join(cast(Any, broken))
        scene.engine.end(scene.victim.call_id, "hangup")
        assert scene.raised == 2 and scene.ended == [scene.victim.call_id]
        assert scene.engine.counters[Counted.CALL_FAULTS] == 2
        await scene.frames(60)
        await leave(scene)

    run(scenario())


def test_a_call_that_fails_while_it_is_made(run: Run) -> None:
    """Its request gets an error; nothing of it is left."""

    async def scenario() -> None:
        scene = await Scene(ValueError, OPUS).begin()

        class Broken(FakeLink):
            def open_call(self, *_: Any, **__: Any) -> CallHandle:
                return cast(CallHandle, scene.boom())

        link = cast(ModelLink, Broken())
        with pytest.raises(CallFailed):
            scene.engine.create_call(make_offer(), "whip", "", link)
        assert len(scene.engine.calls()) == 2 and len(scene.engine._ufrags) == 2
        await scene.frames(60)
        await leave(scene)

    run(scenario())


def test_a_packet_that_raises_before_it_has_a_call(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped and counted, the first is logged, and the frames beside it are read."""

    async def scenario() -> None:
        scene = await Scene(ValueError, OPUS).begin()
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr("transceiver.engine.engine.stun.username", scene.boom)
            check = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
            scene.neighbour.speak()
            sent = scene.neighbour.caller.out.pop()
            scene.street.up([(ELSEWHERE, check), (HOME, sent), (ELSEWHERE, check)])
        assert scene.engine.counters["packet_faults"] == 2
        assert [entry["event"] for entry in logs] == ["packet_failed"]
        assert not scene.ended
        await scene.frames(60)
        await leave(scene)

    run(scenario())


# Ways in that are not on the list.

# Methods of a session by the test that breaks what they do.
COVERED = {
    "handle_datagram": "rtp",
    "handle_stun": "stun",
    "forget_address": "address_taken_over",
    "tick": "tick",
    "on_audio": "backend_audio",
    "on_data": "backend_data",
    "on_clear": "backend_clear",
    "on_resumed": "backend_resumed",
    "on_encoder": "backend_encoder",
    "on_hang_up": "backend_hang_up",
    "on_backend_lost": "backend_lost",
    "on_fault": "report_to_the_backend",
    "restart_ice": "restart",
    "hear_sideband": "sideband_speaks",
    "snapshot": "snapshot",
    "export": "checkpoint",
    "leave": "hand_over",
    "dismiss": "dismissed",
}
ELSEWHERE_TESTED = {
    "end",  # ENDINGS
    "open",  # test_a_call_that_fails_while_it_is_made
    *("hold", "release"),  # takeover/test_between.py: a call between two owners that raises
    *("resumed", "carry_on"),  # whoever adopts a call gets the error, and nothing is left of it
    "accepted",  # waits for a future; raises LinkError to the request that waits
    *("on_accepted", "on_remember"),  # keep a value each, in the handle's guard as all of `on_…`
    *("ask", "give_up"),  # under the guard of `Restorer`: tests/transceiver/restore
}


def test_every_way_into_a_session_is_on_the_list() -> None:
    """A new public method of a session needs a place here."""
    methods = {
        name
        for name, _ in inspect.getmembers(Session, inspect.isroutine)
        if not name.startswith("_")
    }
    assert methods == set(COVERED) | ELSEWHERE_TESTED
    assert set(COVERED.values()) <= set(PLACES)


ROOMS = Path(transceiver.__file__).parent
MEDIA = ("call", "transport", "data", "rtp", "opus", "engine", "link")
SCHEDULES = {"call_soon", "call_later", "call_at", "add_reader", "ensure_future", "create_task"}
# What the media path gives to the event loop, each guarded or of the engine alone.
SCHEDULED = {
    "self._on_readable",
    "self._flush",
    "self._shake_hands",
    "self._on_timer",
    *("self._on_beat", "self._claimed"),  # claims; what a call does then is guarded
    "self._guard",  # the hole's timer
    "self._tell_hang_up",  # overflow_told
    *("self._stay_connected()", "self._connect(moving)", "self._write()"),  # a stream's end at most
}


def scheduled(source: str) -> Iterator[str]:
    """What is given to the event loop in some source text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SCHEDULES:
            timed = node.func.attr in ("call_later", "call_at", "add_reader")  # type: ignore[attr-defined]
            yield ast.unparse(node.args[1 if timed else 0])


def test_whatever_the_media_path_schedules_is_on_the_list() -> None:
    """A new timer, task or reader needs a guard."""
    sources = [path.read_text() for room in MEDIA for path in (ROOMS / room).glob("*.py")]
    found = {what for source in sources for what in scheduled(source)}
    assert found == SCHEDULED


def test_whatever_aiortc_schedules_is_guarded() -> None:
    """Another version of it may make tasks and timers of other functions."""
    source = inspect.getsource(aiortc.rtcsctptransport.RTCSctpTransport)
    names = {name.removeprefix("self.").partition("(")[0] for name in scheduled(source)}
    assert names <= set(vars(Association))
