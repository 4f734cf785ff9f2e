"""What a session asks of the engine that runs it, or of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from transceiver.faults import Guard

if TYPE_CHECKING:
    from transceiver.call.session import Session


class Host(Protocol):
    """All calls are plain and return at once; addresses are the 18 bytes of `wire.address`."""

    def now(self) -> float:
        """Seconds of the clock of every `now` and deadline."""

    def transmit(self, address: bytes, packet: bytes) -> None:
        """Send a datagram to the caller."""

    def wake_at(self, session: Session, when_s: float) -> None:
        """Call `session.tick` then; replaces what was asked before."""

    def mint(self) -> tuple[str, str]:
        """Fresh ICE credentials: ufrag, password."""

    def answers_to(self, session: Session, ufrag: str) -> None:
        """STUN that names `ufrag` is for this session."""

    def ufrag_ended(self, ufrag: str) -> None:
        """No longer."""

    def address_learned(self, session: Session, address: bytes) -> None:
        """What comes from `address` is for this session, whoever had it before."""

    def address_forgotten(self, session: Session, address: bytes) -> None:
        """No longer."""

    def changed(self, session: Session) -> None:
        """Something that cannot be repeated has happened in it: a checkpoint is to know it soon."""

    def unhold(self, session: Session) -> None:
        """It has something to say: if it was silent for a move, the move comes to nothing."""

    def connected(self, session: Session) -> None:
        """Its caller is there: the handshake is over."""

    def backend_lost(self, session: Session) -> bool:
        """Look for another backend: `session.ask` it, or `session.give_up`.

        False: nobody is to be asked.
        """

    def ended(self, session: Session) -> None:
        """The call is over: it will send nothing more and wants no waking."""

    def fail(self, session: Session, error: Exception) -> None:
        """Something raised in the call: count it, log it once, end that call. Never raises."""

    def guarded(self, session: Session) -> Guard:
        """`fail` for whatever raises within; nothing comes out of it."""

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter; `reason` is a fixed word."""
