"""Gives answers one at a time: made ahead, kept or thrown away, played, stopped.

begin ─▶ a Reply in the making ── discard
            └─ give ─▶ response.created … response.done ─▶ quiet
                         └─ stop: the voice ends at once, history ends where the ear did
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from backends.agent.call_tasks import CallTasks
from backends.agent.current_answer import CurrentAnswer, Publish
from backends.agent.memory import AnswerMemory
from backends.agent.models import ModelFailure, Models, TokenUsage, ToolCall
from backends.agent.mouth import Mouth
from backends.agent.played import FRAME_MS
from backends.agent.reply import Asked, Finished, Limits, Reply, Sound, Words
from backends.agent.stages import TurnRecord
from backends.agent.tools import Toolbox
from backends.realtime import InputTokens, OutputTokens, RealtimeSession, ServerEvent, Usage
from backends.realtime.responses import Reason, Response
from trunkline.backend.call import Call
from trunkline.backend.events import Playout

Tell = Callable[[Sequence[ServerEvent]], None]


@dataclass(frozen=True)
class Phrases:
    """What is said when there is nothing else to say; "" says nothing."""

    filler: str = "One moment, please."  # while a tool takes its time
    apology: str = "Sorry, something went wrong. Please try again."
    cut_off: str = "Sorry, we were cut off. Could you say that again?"  # after a lost backend


class Answers:
    """The answers of one call.

    `tell` sends events to the client. `publish` takes turn records (see `CurrentAnswer`).
    `on_quiet` is called when the caller has heard an answer to its end.
    """

    def __init__(
        self,
        call: Call,
        session: RealtimeSession,
        models: Models,
        toolbox: Toolbox,
        call_tasks: CallTasks,
        tell: Tell,
        publish: Publish,
        phrases: Phrases,
        limits: Limits,
        on_quiet: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self.mouth = Mouth(call, self._frame_sent)
        self._call_id = call.id
        self._session = session
        self._models = models
        self._toolbox = toolbox
        self._call_tasks = call_tasks
        self._tell = tell
        self._publish = publish
        self._phrases = phrases
        self._limits = limits
        self._on_quiet = on_quiet
        self._on_change = on_change
        self._making: dict[Reply, asyncio.Task[None]] = {}
        self._current: CurrentAnswer | None = None  # the latest
        self._playing: asyncio.Task[None] | None = None  # as long as more of it is to be said

    @property
    def busy(self) -> bool:
        """Whether an answer is being given, or heard."""
        return self._playing is not None or self.mouth.speaking

    def begin(self, asked: Asked) -> Reply:
        """Start to make an answer."""
        filler = self._phrases.filler if asked.spoken else ""
        reply = Reply(
            *(self._call_id, asked, self._models, self._toolbox, filler, self._limits),
            self._on_change,
        )
        making = self._call_tasks.run(reply.make(), "reply")
        self._making[reply] = making
        making.add_done_callback(lambda _: self._making.pop(reply, None))
        return reply

    def discard(self, reply: Reply) -> None:
        """Throw an answer away that was not given."""
        making = self._making.pop(reply, None)
        if making is not None:
            making.cancel()

    def give(self, reply: Reply, record: TurnRecord) -> None:
        """Say the answer; the one before must be made or stopped.

        If that one is still heard, its turn is over all the same: this is the next.
        """
        if self._session.active is None:
            self._tell(self._session.response_created())
        assert self._session.active is not None  # noqa: S101 - it was just created
        record.response_id = self._session.active.id
        if self._current is not None:
            self._current.over()
        self._current = current = CurrentAnswer(reply, record, self._publish)
        reply.keep()
        self._playing = self._call_tasks.run(self._play(current), "playing")

    def stop(self, reason: Reason) -> Coroutine[None, None, None]:
        """Give up the answer that is given or heard now; what is returned makes silence of it.

        An answer that begins before silence is made is another one and goes on. The coroutine
        raises CallOver.
        """
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
        if self._current is not None:
            self.discard(self._current.reply)
            self._current.over(interrupted=True)
        return self._silence(reason, self._session.active, self._usage())

    def memory(self) -> AnswerMemory | None:
        """The answer that is given, for who goes on with it; None where there is none."""
        current = self._current
        if current is None or current.record.final:
            return None
        reply = current.reply
        rest = "".join(reply.written[current.clauses :])
        run = self.mouth.newest(current.item_id)
        thought = reply.thought or current.said  # or it failed, and said so
        return AnswerMemory(current.item_id, run, rest, thought, current.said, reply.effects)

    def go_on_hearing(self, frames: int) -> None:
        """The caller still hears so many frames of a backend that is lost."""
        self.mouth.go_on_hearing(frames)
        self._call_tasks.run(self._hear_out(), "hearing out")

    async def _hear_out(self) -> None:
        while self.mouth.speaking and self._current is None:  # noqa: ASYNC110 - time itself
            await asyncio.sleep(self.mouth.quiet_at_s - time.monotonic())
        if self._current is None:
            self._tell(self._session.output_stopped())
            self._on_quiet()

    def end(self) -> None:
        """The call has ended, and with it the turn."""
        if self._current is not None:
            self._current.over(interrupted=True)

    async def _silence(self, reason: Reason, response: Response | None, usage: Usage) -> None:
        heard = await self.mouth.stop() if self.mouth.speaking else {}
        if response is not None and self._session.active is response:
            self._tell(self._session.response_done("cancelled", usage, reason=reason))
        self._tell(self._session.output_cleared(heard))

    def hear(self, playout: Playout) -> None:
        """The transceiver says how far it is."""
        self.mouth.hear(playout)
        if self._current is not None:
            self._current.left(playout.sent, time.monotonic())

    async def _play(self, current: CurrentAnswer) -> None:
        failure: ModelFailure | None = None
        async for piece in current.reply.pieces():
            if isinstance(piece, Words):
                current.clauses += 1
                self._begin_item(current)
                self._tell(self._session.message_delta(piece.text))
            elif isinstance(piece, Sound):
                await self.mouth.say(current.item_id, piece.pcm)
            elif isinstance(piece, ToolCall):
                await self._call_function(current, piece)
            else:
                failure = await self._end_item(current, piece)
        self._playing = None
        current.said = True
        self._done(current, failure)
        self._call_tasks.run(self._quiet(current), "quiet")

    def _begin_item(self, current: CurrentAnswer) -> None:
        if not current.item_id:
            current.item_id, events = self._session.message_started()
            self._tell(events)

    async def _end_item(self, current: CurrentAnswer, finished: Finished) -> ModelFailure | None:
        """Say what is left, or that we are sorry."""
        if finished.failure is not None:
            current.record.failed = str(finished.failure)
            await self._apologise(current, finished.failure)
        await self._end_sound(current)
        return finished.failure

    async def _end_sound(self, current: CurrentAnswer) -> None:
        if current.item_id:
            await self.mouth.finish(current.item_id)

    async def _apologise(self, current: CurrentAnswer, failure: ModelFailure) -> None:
        text = self._phrases.apology
        if not text or failure.stage == "tts" or current.sounds:
            return
        self._begin_item(current)
        self._tell(self._session.message_delta(text))
        try:
            async with asyncio.timeout(self._limits.first_sound_s):
                async for pcm in self._models.speak.speak(self._call_id, text):
                    await self.mouth.say(current.item_id, pcm)
        except (ModelFailure, TimeoutError):
            return  # the voice is gone too; the event says so

    async def _call_function(self, current: CurrentAnswer, call: ToolCall) -> None:
        await self._end_sound(current)
        _, events = self._session.function_call_started(call.name, call.call_id)
        self._tell(events)
        self._tell(self._session.function_call_delta(call.arguments))
        self._tell(self._session.output_done())
        current.item_id = ""

    def _done(self, current: CurrentAnswer, failure: ModelFailure | None) -> None:
        usage = self._usage()
        if failure is None:
            self._tell(self._session.response_done("completed", usage))
        else:
            error = (f"{failure.stage}_{failure.reason}", "A model of the agent failed.")
            self._tell(self._session.response_done("failed", usage, error=error))
        if not current.sounds:
            current.over()

    async def _quiet(self, current: CurrentAnswer) -> None:
        """Wait until the caller has heard all."""
        while self.mouth.speaking and self._playing is None:  # noqa: ASYNC110 - time itself
            await asyncio.sleep(self.mouth.quiet_at_s - time.monotonic())
        if self._playing is None:
            self._tell(self._session.output_stopped())
            current.over()
            self._on_quiet()

    def _frame_sent(self, item_id: str) -> None:
        if self._current is not None and not self._current.sounds:
            self._current.sent(self.mouth.sent_frames - 1, time.monotonic())
        self._tell(self._session.audio_sent(item_id, FRAME_MS))

    def _usage(self) -> Usage:
        tokens = self._current.reply.usage if self._current is not None else TokenUsage()
        read = InputTokens(text=tokens.read, cached=tokens.cached)
        return Usage(read, OutputTokens(text=tokens.written))
