"""One call on one upstream session."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any

import structlog

from backends.agent.call_tasks import CallTasks
from backends.agent.mouth import Mouth
from backends.agent.remembering import Remembering
from backends.openai_realtime.known import Known, KnownMemory, recalled
from backends.openai_realtime.renewal import Counted, Sessions, Why
from backends.openai_realtime.translate import (
    BYTES_PER_MS,
    Action,
    Silence,
    Sound,
    SoundEnds,
    ToCaller,
    ToUpstream,
    Translator,
    buffer_event,
    continued,
    heard,
    parsed,
    truncated,
)
from backends.openai_realtime.upstream import Realtime, UpstreamFailure
from backends.realtime import to_text
from backends.realtime.events import server_event
from backends.realtime.page import ANYBODY, Page
from backends.realtime.recording import Recording
from backends.realtime.refusals import Refusal
from fleet.foreign_json import read_json
from trunkline.backend.call import Call, CallOver
from trunkline.backend.events import Audio, Playout, Text

EVENTS_LABEL = "oai-events"
MAX_WAITING_BYTES = 300 * 1000 * BYTES_PER_MS  # five minutes of speech; nobody listens longer
RECENT_FRAMES = 500  # 10 s: what a caller was saying when a session was lost is said again
SETTINGS = "session.update"
EVENT_TYPE_CHARS = 200  # within which the type of an event stands
FAREWELL_S = 0.5  # for the last event to reach the caller
log = structlog.get_logger(__name__)


async def converse(
    call: Call, realtime: Realtime, renew_s: float = math.inf, count: Counted = lambda _: None
) -> None:
    """Carry a call until it ends. Without an upstream the caller is told why, and it ends.

    A session that is `renew_s` old is renewed at a turn boundary; `count` takes each renewal.
    """
    try:
        async with Sessions(call.id, realtime, renew_s, count) as sessions:
            await Bridge(call, sessions).run()
    except UpstreamFailure as failure:
        await _apologise(call, failure.reason)


async def _apologise(call: Call, reason: str) -> None:
    log.warning("upstream_failed", call_id=call.id, reason=reason)
    message = "The connection to the model could not be had or was lost. Please call again."
    refusal = Refusal(f"upstream_{reason}", message, kind="server_error")
    with suppress(CallOver):
        await call.send_text(EVENTS_LABEL, to_text(server_event("error", error=refusal.shown())))
        await asyncio.sleep(FAREWELL_S)
    call.hang_up("failed")


def _page(call: Call) -> Page:
    may_set = call.page_may_set
    return ANYBODY if may_set is None else Page(may_set, call.session_json)


class Bridge:
    """Both directions of one call, for as long as `run` runs."""

    def __init__(self, call: Call, sessions: Sessions) -> None:
        self._call = call
        self._upstream = sessions
        self._known = Known()
        self._remembering = Remembering(call, self._export)
        self._recent: deque[bytes] = deque(maxlen=RECENT_FRAMES)  # of the caller's turn
        self._translator = Translator(_page(call))
        self._mouth = Mouth(call, self._on_frame, bytes_per_ms=BYTES_PER_MS)
        self._recording = Recording()
        self._call_tasks = CallTasks(call)
        self._speaking: asyncio.Task[None] | None = None
        self._waiting: deque[Sound | SoundEnds] = deque()
        self._waiting_bytes = 0
        self._came = asyncio.Event()
        self._playing = ""  # response whose sound the caller hears
        self._newest = self._silenced = ""  # responses: whose sound came last, whose is unwanted
        self._item_id, self._item_frames = "", 0  # that was sent last, and how much of it

    async def run(self) -> None:
        """Carry the call until it ends. Raises UpstreamFailure."""
        async with self._call_tasks:
            await self._open()
            listening = asyncio.ensure_future(self._listen())
            self._begin_to_speak()
            hearing = asyncio.ensure_future(self._hear())
            try:
                await asyncio.wait([listening, hearing], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (listening, hearing):
                    task.cancel()
                results = await asyncio.gather(listening, hearing, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, CallOver):
                raise result

    async def _hear(self) -> None:
        async for event in self._call.events():
            if isinstance(event, Audio):
                self._recent.append(event.payload)
                await self._upstream.send(heard(event.payload))
            elif isinstance(event, Playout):
                self._mouth.hear(event)
            elif isinstance(event, Text) and event.label == EVENTS_LABEL:
                actions = self._translator.from_caller(event.text, from_server=event.from_server)
                await self._do(actions)

    async def _open(self) -> None:
        memory = recalled(self._call)
        if memory is not None:
            await self._go_on(memory)
        else:
            await self._do(self._translator.opening(self._call.session_json))

    async def _listen(self) -> None:
        sessions, known = self._upstream, self._known
        while True:
            try:
                text = await sessions.receive(max(0.0, sessions.due_in_s) if known.quiet else None)
            except UpstreamFailure:
                await self._renew("lost")
                continue
            if text is not None:
                await self._take_in(text)
            if sessions.old and known.quiet:
                await self._renew("age")

    async def _take_in(self, text: str) -> None:
        event = parsed(text)
        if event is None or self._upstream.hides(event):
            return
        if self._known.heard(event):
            self._remembering.changed()
        if event.get("type") == "input_audio_buffer.committed":
            self._recent.clear()
        await self._do(self._translator.from_event(event, text))

    # Another session upstream, or another backend: the conversation goes on.

    async def _renew(self, why: Why) -> None:
        known = self._known
        speaking, answering = known.speaking, known.active
        begun = known.lost()
        if answering:
            await self._end_response(answering)
        await self._upstream.renew(why, known.openings())
        if answering:
            await self._upstream.send(self._continued(begun=begun))
        if speaking:
            for pcm in list(self._recent):
                await self._upstream.send(heard(pcm))
        self._remembering.changed()

    async def _go_on(self, memory: KnownMemory) -> None:
        """Be the bridge that another one was; its caller notices nothing."""
        assert self._call.restored is not None  # noqa: S101 - a memory came with it
        known, playout = self._known, self._call.restored.playout
        known.recall(memory)
        self._mouth.go_on_hearing(playout.queued)
        heard_ms = known.heard_ms(memory, playout.sent + playout.queued)
        if heard_ms is not None:
            known.cut_short(memory.said_item, heard_ms)
            cut = {"item_id": memory.said_item, "content_index": 0, "audio_end_ms": heard_ms}
            await self._send("conversation.item.truncated", **cut)
        if memory.active:
            await self._end_response(memory.active)
        begun = known.lost()
        await self._upstream.open(known.openings())
        if memory.active or heard_ms is not None:
            await self._upstream.send(self._continued(begun=begun))
        self._remembering.changed()

    async def _end_response(self, response_id: str) -> None:
        """It will not be done: nobody is there any more who could say so."""
        if self._item_id:
            await self._queue(SoundEnds(self._item_id))
        ended = {"id": response_id, "object": "realtime.response", "status": "incomplete"}
        await self._send("response.done", response={**ended, "output": []})

    def _continued(self, *, begun: bool) -> str:
        return continued(str(self._known.session.get("instructions") or ""), begun=begun)

    async def _send(self, kind: str, **members: Any) -> None:
        await self._call.send_text(EVENTS_LABEL, to_text(server_event(kind, **members)))

    def _export(self) -> bytes:
        return self._known.export(self._item_id, self._mouth.newest(self._item_id))

    async def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, ToUpstream):
                self._note_told(action.text)
                await self._upstream.send(action.text)
            elif isinstance(action, ToCaller):
                self._record(action.text)
                await self._call.send_text(EVENTS_LABEL, action.text)
            elif isinstance(action, Silence):
                await self._silence()
            else:
                await self._queue(action)

    def _note_told(self, text: str) -> None:
        if SETTINGS in text and (event := parsed(text)) is not None:
            self._known.told(event)
            self._remembering.changed()

    def _record(self, text: str) -> None:
        if ".delta" in text[:EVENT_TYPE_CHARS]:  # most are, and none of these is recorded
            return
        with suppress(ValueError):  # an upstream may say anything
            for recorded in self._recording.hear(read_json(text)):
                self._call.record(recorded)

    # The voice.

    async def _queue(self, sound: Sound | SoundEnds) -> None:
        if isinstance(sound, Sound):
            self._newest = sound.response_id
            if sound.response_id == self._silenced:  # it was under way when the caller spoke
                return
            self._known.sounded(sound.item_id, len(sound.pcm) // BYTES_PER_MS)
        size_bytes = len(sound.pcm) if isinstance(sound, Sound) else 0
        if self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            log.warning("upstream_flooded", call_id=self._call.id)
            await self._upstream.send('{"type":"response.cancel"}')
            return
        self._waiting.append(sound)
        self._waiting_bytes += size_bytes
        self._came.set()

    def _begin_to_speak(self) -> None:
        """Say what waits and what comes, from here on; nothing that was being said."""
        if self._speaking is not None:
            self._speaking.cancel()
        self._speaking = self._call_tasks.run(self._speak(), "voice")

    async def _speak(self) -> None:
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            sound = self._waiting.popleft()
            if isinstance(sound, Sound):
                self._waiting_bytes -= len(sound.pcm)
                await self._begin(sound.response_id)
                await self._mouth.say(sound.item_id, sound.pcm)
            else:
                await self._mouth.finish(sound.item_id)
                await self._end_of_sound()

    async def _begin(self, response_id: str) -> None:
        if self._playing != response_id:
            self._playing = response_id
            await self._tell("started", response_id)

    async def _end_of_sound(self) -> None:
        """Wait until the last of it was heard, unless more comes or it is cut off."""
        playing = self._playing
        while not self._waiting and self._playing == playing and self._mouth.speaking:
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._mouth.quiet_at_s - monotonic())):
                    await self._came.wait()
        if self._playing == playing and playing and not self._waiting:
            self._playing = ""
            await self._tell("stopped", playing)

    async def _silence(self) -> None:
        cut_short = self._item_id if self._waiting_bytes else ""
        self._waiting.clear()
        self._waiting_bytes = 0
        self._silenced = self._newest
        playing, self._playing = self._playing, ""
        if not playing:
            return
        self._begin_to_speak()  # the frame that waits for credit would follow the clear
        heard_ms = await self._mouth.stop()
        if cut_short:  # all that was sent was heard, but more would have come
            heard_ms.setdefault(cut_short, self._item_frames * 20)
        await self._tell("cleared", playing)
        for item_id, item_ms in heard_ms.items():
            self._known.cut(item_id, item_ms)
            await self._upstream.send(truncated(item_id, item_ms))

    def _on_frame(self, item_id: str) -> None:
        if item_id != self._item_id:
            self._item_id, self._item_frames = item_id, 0
            self._remembering.changed()
        self._item_frames += 1

    async def _tell(self, what: str, response_id: str) -> None:
        await self._call.send_text(EVENTS_LABEL, buffer_event(what, response_id))
