"""The line of one call to its backend: who has it, and what is held while nobody does.

open ─▶ taken ── lost ─▶ held ── ask ─▶ asked ── it takes the call ─▶ taken
                          ▲               └─ it does not ─┐
                          └───────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypedDict, Unpack

from transceiver.call.newcomer import Newcomer
from transceiver.call.unheard import Hearer, Unheard
from transceiver.call.voice import SEND_CREDIT, CallVoice
from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.errors import CallUnknown
from transceiver.link.model_link import ModelLink
from transceiver.link.position import NOWHERE, Position
from transceiver.takeover.session_state import LinkState
from trunkline.v1 import model_pb2


@dataclass(frozen=True)
class Terms:
    """What every backend of a call is told of it, whichever it is."""

    call_id: str
    session_json: str = field(repr=False)
    started_unix_ms: int
    audio_format: int
    page_may_set: Sequence[str] | None


class How(TypedDict, total=False):
    """As a call that is known already: what `ModelLink.open_call` takes by the same names."""

    resume: Position | None
    exact: bool
    restored: model_pb2.Restored


class BackendLine:
    """`handle` is the call at its backend, `hearer` who takes what the caller says.

    Both are None before there is a backend and after the end. `remembered` is the newest snapshot
    of the conversation, `losses` counts the backends that are gone. `on_restored` hears that
    another has taken the call, how long there was none, in ms, and how many packets of sound did
    not fit meanwhile; `on_overflow` that a message did not.
    """

    def __init__(
        self,
        voice: CallVoice,
        on_restored: Callable[[int, int], None],
        on_overflow: Callable[[], None],
    ) -> None:
        self.handle: CallHandle | None = None
        self.hearer: Hearer | None = None
        self.link: ModelLink | None = None  # of the backend that has the call, or had it
        self.backend = ""  # as that calls itself
        self.terms = Terms("", "", 0, 0, None)
        self.taken = False  # by a backend, once
        self.remembered = b""
        self.losses = 0
        self._voice = voice
        self._on_restored = on_restored
        self._on_overflow = on_overflow
        self._asked: CallHandle | None = None
        self._held: Unheard | None = None
        self._position = NOWHERE  # where the lost backend was
        self._resuming = False
        self._lost_s = 0.0

    def open(
        self,
        link: ModelLink,
        sink: CallSink,
        terms: Terms,
        resume: Position | None = None,
        *,
        exact: bool = False,
    ) -> None:
        """Give the call to its first backend, or `resume` it at the one that holds it.

        Raises BackendAbsent, CallLimit, or CallUnknown.
        """
        self.terms, self.link, self.backend = terms, link, link.backend
        self.taken = resume is not None
        self.join(self._ask(link, sink, SEND_CREDIT, resume=resume, exact=exact))

    def join(self, handle: CallHandle) -> None:
        """From here on the call is there."""
        self.hearer = self.handle = handle

    def export(self) -> LinkState:
        """Where the conversation is, as a value."""
        terms, ear = self.terms, self._voice.ear
        position = self._position if self.handle is None else self.handle.position
        return LinkState(
            *(self.backend, terms.session_json, terms.audio_format, self.remembered),
            (ear.first, ear.cleared, ear.given),
            name=self.link.called if self.link is not None else "",
            **asdict(position),
        )

    def go_on(self, state: LinkState) -> None:
        """Its backend has taken the call in another process; that is the newest snapshot."""
        self.taken, self.remembered = True, state.remembered

    def lose(self, now: float) -> None:
        """Its backend is gone: hold what the caller says."""
        self.losses += 1
        self._lost_s = now
        self._position = NOWHERE if self.handle is None else self.handle.position
        self.handle = None
        self.hearer = self._held = Unheard(self._on_overflow)

    def ask(self, link: ModelLink, sink: CallSink, now: Callable[[], float]) -> CallHandle:
        """Ask a backend to go on with the call; await its answer next.

        The one that had it may still hold it: only the stream broke. It is asked that first, once.
        `sink` hears the backend from the moment at which it takes the call. Raises BackendAbsent
        or CallLimit.
        """
        newcomer = Newcomer(lambda: self._take(link, sink, now()), sink.on_fault)
        position, self._position = self._position, NOWHERE
        self._asked = self._ask_to_resume(link, newcomer, position)
        self._resuming = self._asked is not None
        if self._asked is None:
            restored = self._restored(now())
            credit = self._voice.offer_credit()
            self._asked = self._ask(link, newcomer, credit, restored=restored)
        return self._asked

    def _ask_to_resume(
        self, link: ModelLink, newcomer: Newcomer, position: Position
    ) -> CallHandle | None:
        if link is not self.link or not position.resumable:
            return None
        try:
            return self._ask(link, newcomer, SEND_CREDIT, resume=position)
        except CallUnknown:  # it has started again, and holds no calls
            return None

    def leave(self) -> None:
        """Another process goes on with the call."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.moving()
        self.close("drained")

    def close(self, reason: str) -> None:
        """End the call at its backend, and at the one that is asked.

        Lets go of who made this as well, so that a call is freed without the garbage collector.
        """
        handles = self.handle, self._asked
        self._on_restored = self._on_overflow = _let_go
        self.handle = self.hearer = self._held = self._asked = None
        for handle in handles:
            if handle is not None:
                handle.close(reason)

    def _take(self, link: ModelLink, sink: CallSink, now: float) -> None:
        """It takes the call, and hears what was held."""
        handle, self._asked = self._asked, None
        held, self._held = self._held, None
        if handle is None or held is None:
            return
        handle.heard_by(sink)
        if not self._resuming:
            self._voice.begin_anew()
        self.link, self.backend = link, link.backend
        self.join(handle)
        dropped = held.lost
        held.pour(handle)
        self._on_restored(self._gap_ms(now), dropped)

    def _restored(self, now: float) -> model_pb2.Restored:
        sent, acked, cleared, queued = self._voice.playout()
        playout = model_pb2.Playout(
            sent_frames=sent, acked_frames=acked, cleared_frames=cleared, queued_frames=queued
        )
        return model_pb2.Restored(
            snapshot=self.remembered,
            playout=playout,
            losses=self.losses,
            gap_ms=self._gap_ms(now),
        )

    def _gap_ms(self, now: float) -> int:
        return round(1000 * max(0.0, now - self._lost_s))

    def _ask(self, link: ModelLink, sink: CallSink, credit: int, **how: Unpack[How]) -> CallHandle:
        terms = self.terms
        return link.open_call(
            *(terms.call_id, terms.session_json, sink, credit, terms.started_unix_ms),
            *(terms.audio_format, terms.page_may_set),
            **how,
        )


def _let_go(*_: int) -> None:
    pass
