"""What a session asks of whoever runs it: the engine, or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

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

    def ended(self, session: Session) -> None:
        """The call is over; it only has goodbyes to send."""

    def released(self, session: Session) -> None:
        """It will send nothing more and wants no waking."""

    def count(self, reason: str, amount: int = 1) -> None:
        """Add to a counter; `reason` is a fixed word."""
