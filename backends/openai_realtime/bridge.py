"""One call on one upstream session."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic

import structlog

from backends.agent.call_tasks import CallTasks
from backends.agent.mouth import Mouth
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
    heard,
    truncated,
)
from backends.openai_realtime.upstream import Realtime, Upstream, UpstreamFailure
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
EVENT_TYPE_CHARS = 200  # within which the type of an event stands
FAREWELL_S = 0.5  # for the last event to reach the caller
log = structlog.get_logger(__name__)


async def converse(call: Call, realtime: Realtime) -> None:
    """Carry a call until it ends. Without an upstream the caller is told why, and it ends."""
    try:
        async with realtime.connected() as upstream:
            await Bridge(call, upstream).run()
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

    def __init__(self, call: Call, upstream: Upstream) -> None:
        self._call = call
        self._upstream = upstream
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
            await self._do(self._translator.opening(self._call.session_json))
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
                await self._upstream.send(heard(event.payload))
            elif isinstance(event, Playout):
                self._mouth.hear(event)
            elif isinstance(event, Text) and event.label == EVENTS_LABEL:
                actions = self._translator.from_caller(event.text, from_server=event.from_server)
                await self._do(actions)

    async def _listen(self) -> None:
        while True:
            await self._do(self._translator.from_upstream(await self._upstream.receive()))

    async def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, ToUpstream):
                await self._upstream.send(action.text)
            elif isinstance(action, ToCaller):
                self._record(action.text)
                await self._call.send_text(EVENTS_LABEL, action.text)
            elif isinstance(action, Silence):
                await self._silence()
            else:
                await self._queue(action)

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
            await self._upstream.send(truncated(item_id, item_ms))

    def _on_frame(self, item_id: str) -> None:
        if item_id != self._item_id:
            self._item_id, self._item_frames = item_id, 0
        self._item_frames += 1

    async def _tell(self, what: str, response_id: str) -> None:
        await self._call.send_text(EVENTS_LABEL, buffer_event(what, response_id))
