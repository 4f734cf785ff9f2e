"""The old owner's side of moves: holds a call, hands it over, and makes sure of what came of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog
from pydantic_core import from_json

from fleet.directory.directory import Node
from transceiver.call.session import Session
from transceiver.counters import move_outcome
from transceiver.engine.between import NewOwner
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backends
from transceiver.link.errors import LinkError
from transceiver.moves.departure import COMMIT_PACE, Departure, Stage, Verdict
from transceiver.moves.envelope import Envelope, Envelopes, TooLarge
from transceiver.pod.posts import Place, Posts, Unreachable
from transceiver.recovery.reserve import reserve_for
from transceiver.takeover.session_state import STOPPED_BEFORE, SessionState
from wire.address import pack_address
from wire.claim import NOBODY

PREPARE_TIMEOUT_S = 0.5
"""The call is silent meanwhile. A process that takes longer is too late for anybody to talk to."""
COMMIT_TIMEOUT_S = 1.0  # for one answer; it is asked again

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a move; `move_…` counts each."""

    MOVED = "moved"
    REFUSED_NO_ROOM = "refused_no_room"
    REFUSED_STATE = "refused_state"
    TIMED_OUT = "timed_out"
    ABORTED = "aborted"
    TAKEN_BACK = "taken_back"
    IN_DOUBT = "in_doubt"

    @property
    def stays(self) -> bool:
        """Whether the call is here as before, so that another try is worth it."""
        return self not in (Outcome.MOVED, Outcome.IN_DOUBT)


_OF_STAGE = {
    Stage.MOVED: Outcome.MOVED,
    Stage.TAKEN_BACK: Outcome.TAKEN_BACK,
    Stage.IN_DOUBT: Outcome.IN_DOUBT,
}
_NO_ROOM = b'"move_no_room"'


@dataclass(frozen=True)
class _Move:
    """One move of one call."""

    id: str
    session: Session
    state: SessionState
    target: Node
    place: Place


class Outgoing:
    """Moves calls of this process. `own_place` says where a node is asked, `moved` hears of every
    call that is another's from now on, and of the node that it is now on."""

    def __init__(
        self,
        engine: Engine,
        backends: Backends,
        envelopes: Envelopes,
        posts: Posts,
        place_of: Callable[[Node], Place],
        moved: Callable[[str, Place], None],
    ) -> None:
        self._engine = engine
        self._backends = backends
        self._envelopes = envelopes
        self._posts = posts
        self._place_of = place_of
        self._moved = moved
        self._commits: set[asyncio.Task[Stage]] = set()

    async def move(self, call_id: str, target: Node) -> Outcome:
        """Move a call to a node. Raises KeyError when no live call has that id."""
        session = self._engine.find(call_id)
        if session is None:
            raise KeyError(call_id)
        outcome, reason = await self._move(session, target)
        self._engine.count(move_outcome(outcome))
        said = log.info if outcome is Outcome.MOVED else log.warning
        event = "call_moved_to" if outcome is Outcome.MOVED else "call_not_moved"
        said(event, call_id=call_id, node=target.index, outcome=outcome.value, reason=reason)
        return outcome

    async def close(self) -> None:
        """Wait until it is known of every call whose it is."""
        if self._commits:
            await asyncio.wait(self._commits, timeout=2 * COMMIT_TIMEOUT_S)
        for task in self._commits:
            task.cancel()

    async def _move(self, session: Session, target: Node) -> tuple[Outcome, str]:
        state = self._engine.between.hold(session)
        if state is None:
            return Outcome.REFUSED_STATE, "the call is not connected, or is about to end"
        move = _Move(secrets.token_urlsafe(12), session, state, target, self._place_of(target))
        departure = Departure()
        try:
            refusal = await self._prepare(move)
        except BaseException:
            self._stay(move)
            raise
        held = session.held and self._engine.find(session.call_id) is session
        departure.prepared(accepted=refusal is None, still_held=held, now=self._engine.now())
        if departure.stage is Stage.STAYED:
            self._stay(move)
            return refusal or (Outcome.ABORTED, "the call had to speak")
        return await self._hand_off(move, departure)

    async def _prepare(self, move: _Move) -> tuple[Outcome, str] | None:
        """None when the other process has the call; else why not."""
        try:
            envelope = Envelope(self._engine.between.owner, move.state)
            body = self._envelopes.write(move.id, move.place.sender, envelope)
            async with asyncio.timeout(PREPARE_TIMEOUT_S):
                answer = await self._posts.ask(move.place, f"moves/{move.id}/prepare", body)
        except TooLarge:
            return Outcome.REFUSED_STATE, "the call holds too much that nobody has taken"
        except (TimeoutError, Unreachable) as error:
            return Outcome.TIMED_OUT, str(error) or "no answer in time"
        if answer.status == 200:
            return None
        outcome = Outcome.REFUSED_NO_ROOM if _NO_ROOM in answer.body else Outcome.REFUSED_STATE
        return outcome, _detail(answer.body)

    def _stay(self, move: _Move) -> None:
        """Go on here; what the other process has prepared is to be forgotten."""
        self._engine.between.release(move.session)
        task = asyncio.ensure_future(self._abort(move))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _abort(self, move: _Move) -> Stage:
        await self._say(move, "abort")
        return Stage.STAYED

    async def _hand_off(self, move: _Move, departure: Departure) -> tuple[Outcome, str]:
        call_id, target = move.state.call_id, move.target
        to = NewOwner(move.place.sender, pack_address(target.trunk.host, target.trunk.port))
        committing = asyncio.ensure_future(self._commit(move, departure))
        self._commits.add(committing)
        committing.add_done_callback(self._commits.discard)
        self._moved(call_id, move.place)
        self._engine.between.hand_off(move.session, to)
        stage = await asyncio.shield(committing)
        return _OF_STAGE[stage], "" if stage is Stage.MOVED else "it did not go live there"

    async def _commit(self, move: _Move, departure: Departure) -> Stage:
        """Say the word until it is known what came of it."""
        tries = 0
        while not departure.over:
            await asyncio.sleep(COMMIT_PACE.wait_s(tries))
            tries += 1
            departure.answered(await self._say(move, "commit"), self._engine.now())
        if departure.stage is Stage.TAKEN_BACK:
            self._take_back(move, died=departure.target_died)
        return departure.stage

    async def _say(self, move: _Move, word: str) -> Verdict:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                answer = await self._posts.ask(move.place, f"moves/{move.id}/{word}")
            return Verdict(from_json(answer.body)["verdict"])
        except Unreachable as error:
            return Verdict.DEAD if error.dead else Verdict.SILENT
        except (TimeoutError, ValueError, KeyError, TypeError):
            return Verdict.SILENT

    def _take_back(self, move: _Move, *, died: bool) -> None:
        """Go on here after all. Whoever died may have spoken before: its numbers are passed over,
        and relays believe it no more."""
        state, between = move.state, self._engine.between
        reserve = reserve_for(time.time() - state.unix_s) if died else STOPPED_BEFORE
        try:
            link = self._backends.resuming(state.link.name, state.link.instance)
            fenced = move.place.sender if died else NOBODY
            between.prepare(state, link, reserve, fenced=fenced, comes_back=True)
            between.go_live(state.call_id)
        except (LinkError, ValueError) as error:
            log.error("call_not_taken_back", call_id=state.call_id, reason=str(error))


def _detail(body: bytes) -> str:
    try:
        return str(from_json(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
