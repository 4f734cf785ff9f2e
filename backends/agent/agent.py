"""One conversation: the caller's sound and events go in, answers come out.

    packets ─▶ Listener ─┬─ PauseBegan ─▶ write down, judge, answer ahead
                         ├─ PauseOver  ─▶ throw that away
                         ├─ TurnEnded  ─▶ keep it: Answers.give
                         └─ SpeechBegan while we talk ─▶ Answers.stop
    data channel ─▶ RealtimeSession ─▶ events to the client, commands to us

Nothing here blocks: what takes time is a task of the call, and the loop that hears goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from backends.agent.answers import Answers, Phrases
from backends.agent.asking import Asking
from backends.agent.call_tasks import CallTasks
from backends.agent.completeness import OPEN, SURE, completeness, surely_complete
from backends.agent.ear import from_24_khz
from backends.agent.going_on import GoingOn, going_on, ms_per_char
from backends.agent.judging import final_words, melody
from backends.agent.listener import Listener
from backends.agent.listening import StablePrefix
from backends.agent.memory import AgentMemory, TurnMemory, write
from backends.agent.messages import Item, user_message
from backends.agent.metrics import TurnMetrics
from backends.agent.models import BYTES_PER_MS, Hearing, ModelFailure, Models
from backends.agent.remembering import Remembering, recalled
from backends.agent.reply import Asked, Limits, Reply
from backends.agent.stages import NetworkLegs, Stamps, TurnRecord
from backends.agent.tools import Toolbox
from backends.agent.turns import PauseBegan, PauseOver, SpeechBegan, TurnEnded, TurnEvent
from backends.realtime import (
    AppendAudio,
    CancelResponse,
    ClearInput,
    ClearOutput,
    Command,
    CommitInput,
    CreateResponse,
    NoteClientNetwork,
    RealtimeSession,
    ServerEvent,
    ServerVad,
    TurnDetection,
    UpdateSession,
    to_text,
)
from backends.realtime.memory import cut, recall, remembered
from backends.realtime.recording import Recording
from trunkline.backend.call import Call
from trunkline.backend.events import Audio, Playout, Text

EVENTS_LABEL = "oai-events"
MAX_UNSENT = 2000  # events; a client that takes none for that long has gone
UNFINISHED_S = 1.5  # for a caller who was speaking when a backend was lost to go on
UNLIKELY = 0.25  # an answer to a turn that is less likely complete is not worth the work
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AgentProfile:
    """How an agent behaves; `session` are members of the session's configuration."""

    session: dict[str, Any] = field(default_factory=dict)
    greeting: str = ""
    phrases: Phrases = field(default_factory=Phrases)
    limits: Limits = field(default_factory=Limits)
    hearing_timeout_s: float = 8.0
    partial_every_s: float = 0.7
    context_chars: int = 24_000


@dataclass
class Turn:
    """What the caller is saying."""

    record: TurnRecord
    hearing: Hearing
    began_ms: float
    before: str = ""  # what a backend that is lost had heard of it
    item_id: str = ""
    stable: StablePrefix = field(default_factory=StablePrefix)
    considered: asyncio.Task[str] | None = None  # of the pause that is going on
    stamps: Stamps = field(default_factory=Stamps)  # of that pause
    reply: Reply | None = None  # begun ahead
    partial: asyncio.Task[None] | None = None
    partial_s: float = 0.0

    @property
    def words(self) -> str:
        """All that is known of what the caller is saying."""
        return joined(self.before, self.stable.words)


def joined(before: str, words: str) -> str:
    """Words of one turn, with a space where there are words on both sides."""
    return " ".join(filter(None, (before, words)))


class Agent:
    """The agent of one call; `run` it as the call's handler."""

    def __init__(
        self,
        call: Call,
        models: Models,
        toolbox: Toolbox,
        profile: AgentProfile,
        metrics: TurnMetrics,
    ) -> None:
        self._call = call
        self._models = models
        self._toolbox = toolbox
        self._profile = profile
        self._metrics = metrics
        self._session = RealtimeSession(
            call.session_json, profile.session, page_may_set=call.page_may_set
        )
        self._asking = Asking(self._session, profile.context_chars)
        self._recording = Recording()
        self._unsent: asyncio.Queue[ServerEvent] = asyncio.Queue(MAX_UNSENT)
        self._call_tasks = CallTasks(call)
        self._answers = Answers(
            call, self._session, models, toolbox, self._call_tasks, self._tell, self._publish,
            profile.phrases, profile.limits, self._await_idle, self._changed,
        )  # fmt: skip
        detection = self._session.config.audio.input.turn_detection
        self._listener = Listener(models.voice, detection, self._on_turn)
        self._turn: Turn | None = None
        self._unanswered = ""  # item of a turn that is over, until its answer is given
        self._before = ""  # what a backend that is lost had heard of the turn that comes
        self._unfinished_timer: asyncio.TimerHandle | None = None
        self._remembering = Remembering(call, lambda: write(self._memory()))
        self._idle_timer: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._network = call.network  # as it was at the turn before

    async def run(self) -> None:
        """Converse until the call ends."""
        async with self._call_tasks:
            self._call_tasks.run(self._send_events(), "events")
            self._begin()
            self._call_tasks.run(self._read_ahead(), "read ahead")
            try:
                async for event in self._call.events():
                    await self._hear(event)
            finally:
                self._answers.end()
                self._listener.close()
                for timer in (self._idle_timer, self._unfinished_timer):
                    if timer is not None:
                        timer.cancel()

    def _begin(self) -> None:
        """A conversation; perhaps one that another backend had, which is lost."""
        memory = recalled(self._call)
        if memory is not None:
            self._go_on(memory)
            return
        self._tell(self._session.opened())
        if self._call.restored is None:
            self._greet()
        else:
            self._announce()

    async def _read_ahead(self, *more: Item) -> None:
        """The chat model may read the conversation, and what is being said, before it must."""
        with suppress(ModelFailure):  # the answer will tell
            await self._models.think.prime(self._call.id, self._asking.messages(*more))

    async def _hear(self, event: object) -> None:
        if isinstance(event, Audio):
            self._session.input_audio(len(event.payload) / BYTES_PER_MS)
            self._hear_sound(event.payload, time.monotonic())
        elif isinstance(event, Playout):
            self._answers.hear(event)
        elif isinstance(event, Text) and event.label == EVENTS_LABEL:
            unfinished_ms = self._answers.mouth.unfinished()
            reaction = self._session.client_event(
                event.text, unfinished_ms, from_server=event.from_server
            )
            self._tell(reaction.events)
            for command in reaction.commands:
                await self._obey(command)

    # The caller's sound.

    def _hear_sound(self, pcm: bytes, now: float) -> None:
        if self._turn is not None:
            self._turn.hearing.feed(pcm)
        self._listener.hear(pcm, now)
        if self._detection is None:  # all is one turn, until the client commits it
            self._turn = self._turn or self._new_turn()
        else:
            self._write_down(now)

    def _on_turn(self, event: TurnEvent) -> None:
        if isinstance(event, SpeechBegan):
            self._begin_turn(event)
        elif self._turn is None:
            return
        elif isinstance(event, PauseBegan):
            self._consider(self._turn, event)
        elif isinstance(event, PauseOver):
            self._forget_pause(self._turn)
        elif isinstance(event, TurnEnded):
            self._end_turn(self._turn, event)

    # A turn.

    @property
    def _detection(self) -> TurnDetection | None:
        return self._listener.detection

    def _new_turn(self) -> Turn:
        self._numbers += 1
        record = TurnRecord(self._numbers)
        turn = Turn(record, self._models.hear.listen(self._call.id), self._listener.ear.heard_ms)
        prefix = self._listener.ear.begin()
        turn.began_ms -= len(prefix) / BYTES_PER_MS
        turn.before, self._before = self._before, ""
        turn.hearing.feed(prefix)
        return turn

    def _begin_turn(self, event: SpeechBegan) -> None:
        turn = self._turn = self._new_turn()
        turn.partial_s = event.at_s
        events = self._session.speech_started(max(0, int(turn.began_ms)))
        turn.item_id = str(events[0]["item_id"])
        self._tell(events)
        if self._answers.busy and self._detection and self._detection.interrupt_response:
            self._call_tasks.run(self._answers.stop("turn_detected"), "barge-in")

    def _consider(self, turn: Turn, pause: PauseBegan) -> None:
        """A probable end: find out what was said, whether it was all, and answer ahead."""
        turn.stamps = Stamps(voiced=self._listener.ear.last_voiced_s(pause.voiced_s))
        work = self._write_and_judge(turn, pause.number, turn.stamps)
        turn.considered = self._call_tasks.run(work, "pause")

    async def _write_and_judge(self, turn: Turn, number: int, stamps: Stamps) -> str:
        # One after the other: the words are on the way to the answer, the verdict is not. Both at
        # once gained nothing (voice to voice 373 ms, 370 before), and a whole question needs no
        # melody at all.
        text = await self._final_text(turn)
        stamps.note("heard", time.monotonic())
        self._show_words(turn, text)
        likely = completeness(text, None)
        if likely > OPEN:
            self._answer_ahead(turn, text)
            likely = SURE if surely_complete(text) else completeness(text, await self._melody())
        self._listener.verdict(number, likely)
        if likely < UNLIKELY:
            self._discard(turn)
        return text

    async def _melody(self) -> float | None:
        sound, timeout_s = self._listener.ear.turn, self._profile.hearing_timeout_s
        return await melody(self._models.end, self._call.id, sound, timeout_s)

    async def _final_text(self, turn: Turn) -> str:
        words = await final_words(turn.hearing, self._profile.hearing_timeout_s)
        return joined(turn.before, words)

    def _answer_ahead(self, turn: Turn, text: str) -> None:
        if self._detection is not None and self._detection.create_response and text:
            turn.reply = self._answers.begin(self._asking.by_session(user_message(text)))

    def _forget_pause(self, turn: Turn) -> None:
        if turn.considered is not None:
            turn.considered.cancel()
            turn.considered = None
        self._discard(turn)

    def _discard(self, turn: Turn) -> None:
        if turn.reply is not None:
            self._answers.discard(turn.reply)
            turn.reply = None
            turn.record.discarded += 1

    def _end_turn(self, turn: Turn, event: TurnEnded) -> None:
        turn.record.stamps = turn.stamps
        turn.record.stamps.note("ended", time.monotonic())
        del event
        self._tell(self._session.speech_stopped(int(self._listener.ear.heard_ms)))
        turn.item_id, events = self._session.input_committed()
        self._tell(events)
        self._close_turn(turn)

    def _close_turn(self, turn: Turn) -> None:
        turn.record.item_id = self._unanswered = turn.item_id
        self._turn = None
        self._changed()
        self._listener.ear.end()
        if turn.partial is not None:
            turn.partial.cancel()
        self._call_tasks.run(self._finish(turn), "turn")

    async def _finish(self, turn: Turn) -> None:
        """The turn is an item: say what was said, and answer."""
        try:
            text = await (turn.considered or self._final_text(turn))
        except ModelFailure as failure:
            self._discard(turn)
            self._not_heard(turn, failure)
            return
        audio_s = (self._listener.ear.heard_ms - turn.began_ms) / 1000
        self._tell(self._session.input_transcript(turn.item_id, text, audio_s))
        self._changed()
        asked_to = self._detection is not None and self._detection.create_response
        if not text or not asked_to or self._turn is not None or self._session.active:
            self._discard(turn)
            self._unanswered = ""
            return
        turn.record.speculative = turn.reply is not None
        self._give(turn.reply or self._answers.begin(self._asking.by_session()), turn.record)

    def _not_heard(self, turn: Turn, failure: ModelFailure) -> None:
        self._unanswered = ""
        code, message = f"stt_{failure.reason}", "The speech could not be written down."
        self._tell(self._session.input_transcript_failed(turn.item_id, code, message))
        self._tell(self._session.failed(code, message))
        turn.record.failed = str(failure)
        if self._profile.phrases.apology and self._turn is None and self._session.active is None:
            self._say(self._profile.phrases.apology, turn.record)
        else:
            turn.record.final = True
            self._publish(turn.record)

    # Words while the caller speaks.

    def _write_down(self, now: float) -> None:
        turn = self._turn
        if turn is None or not self._listener.voiced:
            return
        due = now >= turn.partial_s + self._profile.partial_every_s
        idle = turn.partial is None or turn.partial.done()
        if due and idle and self._models.hear.partials:
            turn.partial_s = now
            turn.partial = self._call_tasks.run(self._write_partial(turn), "partial")

    async def _write_partial(self, turn: Turn) -> None:
        """What was said so far; the chat model may read it while the caller goes on."""
        try:
            text = await turn.hearing.text(final=False)
        except ModelFailure:
            return  # the final transcript will tell
        self._show_words(turn, text)
        if text:
            await self._read_ahead(user_message(text))

    def _show_words(self, turn: Turn, text: str) -> None:
        delta = turn.stable.grow(text)
        self._changed()
        if delta:
            self._tell(self._session.input_transcript_delta(turn.item_id, delta))

    # A caller who says nothing.

    def _await_idle(self) -> None:
        """The answer has been heard; `idle_timeout_ms` of silence later we speak again."""
        detection = self._detection
        timeout_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if timeout_ms is not None:
            loop, since_ms = asyncio.get_running_loop(), self._listener.ear.heard_ms
            self._idle_timer = loop.call_later(timeout_ms / 1000, self._on_idle, since_ms)

    def _on_idle(self, since_ms: float) -> None:
        if self._turn is not None or self._answers.busy or self._session.active is not None:
            return
        self._tell(self._session.idle_timeout(int(since_ms), int(self._listener.ear.heard_ms)))
        _, events = self._session.input_committed()
        self._tell(events)
        self._numbers += 1
        self._answers.give(
            self._answers.begin(self._asking.by_session()), TurnRecord(self._numbers)
        )

    # The client's commands.

    async def _obey(self, command: Command) -> None:
        if isinstance(command, UpdateSession):
            self._update()
        elif isinstance(command, AppendAudio):
            for packet in from_24_khz(command.pcm):
                self._hear_sound(packet, time.monotonic())
        elif isinstance(command, CommitInput):
            self._commit(command.item_id)
        elif isinstance(command, ClearInput):
            self._clear_input()
        elif isinstance(command, ClearOutput):
            self._call_tasks.run(self._answers.stop("client_cancelled"), "clear")
        elif isinstance(command, CancelResponse):
            self._call_tasks.run(self._answers.stop("client_cancelled"), "cancel")
        elif isinstance(command, CreateResponse):
            self._numbers += 1
            reply = self._answers.begin(self._asking.by_options(command.options))
            self._answers.give(reply, TurnRecord(self._numbers))
        elif isinstance(command, NoteClientNetwork):
            self._note_client(command)

    def _update(self) -> None:
        detection = self._session.config.audio.input.turn_detection
        if detection != self._detection:
            self._clear_input()
            self._listener.detect(detection)

    def _commit(self, item_id: str) -> None:
        turn = self._turn or self._new_turn()
        self._forget_pause(turn)
        turn.item_id = item_id
        self._listener.reset()
        self._close_turn(turn)

    def _clear_input(self) -> None:
        if self._turn is not None:
            self._forget_pause(self._turn)
            self._turn = None
        self._listener.ear.end()
        self._listener.reset()

    # What the client and the operator are told.

    def _greet(self) -> None:
        if self._profile.greeting:
            self._say(self._profile.greeting, TurnRecord(0))

    def _announce(self) -> None:
        """Say that something went wrong, if the profile has words for it."""
        if self._profile.phrases.cut_off:
            self._say(self._profile.phrases.cut_off, TurnRecord(0))

    def _give(self, reply: Reply, record: TurnRecord) -> None:
        self._unanswered = ""
        self._answers.give(reply, record)

    def _say(self, words: str, record: TurnRecord) -> None:
        """Say something that no model was asked for."""
        if self._session.active is None:
            spoken = self._session.config.output_modalities[0] == "audio"
            self._answers.give(self._answers.begin(Asked((), spoken=spoken, words=words)), record)

    # A backend that is lost: what it knew, and how another goes on.

    def _changed(self) -> None:
        self._remembering.changed()

    def _memory(self) -> AgentMemory:
        turn = self._turn
        return AgentMemory(
            remembered(self._session),
            self._numbers,
            self._listener.ear.heard_ms,
            self._answers.memory(),
            TurnMemory(turn.words) if turn is not None else None,
            self._unanswered,
        )

    def _go_on(self, memory: AgentMemory) -> None:
        """Be the agent that another one was; its client notices nothing."""
        assert self._call.restored is not None  # noqa: S101 - a memory came with it
        playout = self._call.restored.playout
        plan = going_on(memory, playout)
        self._tell(recall(self._session, memory.session))
        self._numbers = memory.turns
        self._listener.ear.heard_ms = memory.heard_ms
        self._update()
        self._answers.go_on_hearing(playout.queued)
        if plan.cut and memory.answer is not None:
            rate = ms_per_char(memory.answer)
            self._tell(cut(self._session, plan.cut, plan.heard_ms, rate))
        if memory.turn is not None:
            self._go_on_with_turn(memory.turn)
        else:
            self._follow(plan)
        self._changed()

    def _follow(self, plan: GoingOn) -> None:
        if plan.announce:
            self._announce()
        elif plan.say or plan.ask:
            self._numbers += 1
            asked = self._asking.continued(plan.say, ask=plan.ask)
            self._give(self._answers.begin(asked), TurnRecord(self._numbers))

    def _go_on_with_turn(self, turn: TurnMemory) -> None:
        """The caller was speaking, and perhaps still is."""
        self._before = turn.words
        loop = asyncio.get_running_loop()
        self._unfinished_timer = loop.call_later(UNFINISHED_S, self._end_unfinished)

    def _end_unfinished(self) -> None:
        """It has stopped meanwhile: answer what was heard, or ask for it again."""
        words, self._before = self._before, ""
        if self._turn is not None or self._answers.busy or self._session.active is not None:
            return
        self._tell(self._session.speech_stopped(int(self._listener.ear.heard_ms)))
        item_id, events = self._session.input_committed()
        self._tell(events)
        self._tell(self._session.input_transcript(item_id, words, 0.0))
        self._follow(GoingOn(ask=bool(words), announce=not words))

    def _tell(self, events: Sequence[ServerEvent]) -> None:
        if events:
            self._changed()
        for event in events:
            for recorded in self._recording.hear(event):
                self._call.record(recorded)
            if self._unsent.full():
                self._call.hang_up("failed")
                return
            self._unsent.put_nowait(event)

    async def _send_events(self) -> None:
        while True:
            event = await self._unsent.get()
            await self._call.send_text(EVENTS_LABEL, to_text(event))

    def _publish(self, record: TurnRecord) -> None:
        record.network = NetworkLegs.between(self._network, self._call.network)
        shown = record.shown()
        self._tell(self._session.turn_told(shown))
        if record.final:
            self._network = self._call.network
            log.info("turn", call_id=self._call.id, **shown)
            self._metrics.note(record)

    def _note_client(self, network: NoteClientNetwork) -> None:
        legs_ms = {
            "client_rtt_ms": network.rtt_ms,
            "client_jitter_buffer_ms": network.jitter_buffer_ms,
        }
        log.info("turn_network", call_id=self._call.id, turn=network.turn, **legs_ms)
        self._metrics.note_network(legs_ms)
