"""Every packet that was sent, by its bytes: what arrives somewhere must stand here."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.shared.nodes import FlowOwner
from wire.trunk import FrameType


class ViolationError(AssertionError):
    """A packet, a flow or a bound is not as it must be."""


def demand(condition: object, claim: str, *facts: object) -> None:
    """Raise ViolationError with the claim that does not hold."""
    if not condition:
        shown = ", ".join(fact.hex() if isinstance(fact, bytes) else repr(fact) for fact in facts)
        raise ViolationError(f"{claim}: {shown}")


@dataclass(frozen=True)
class SentCheck:
    """A caller's STUN request as it left his network: from where, and whom its token names."""

    address: bytes
    owner: FlowOwner  # as its token says
    transaction_id: bytes
    ufrag: str


@dataclass(frozen=True)
class SentDatagram:
    """A trunk datagram of a transceiver: who sent it, from where, with which key, what is in it."""

    owner: FlowOwner
    source: bytes
    key_id: int
    frames: tuple[tuple[bytes, bytes], ...]
    kind: FrameType = FrameType.DATAGRAM


@dataclass
class Ledger:
    """All that honest parties, and strangers in their name, have sent."""

    media: dict[bytes, bytes] = field(default_factory=dict)  # payload → source address
    checks: dict[bytes, SentCheck] = field(default_factory=dict)
    datagrams: dict[bytes, SentDatagram] = field(default_factory=dict)
    arrived: set[bytes] = field(default_factory=set)  # media that reached its transceiver
    echoed: set[bytes] = field(default_factory=set)  # media whose echo reached its caller
    holders: dict[str, list[FlowOwner]] = field(default_factory=dict)  # of each ufrag, in order
    serial: int = 0

    def next_serial(self) -> bytes:
        """Eight bytes that no other packet has."""
        self.serial += 1
        return self.serial.to_bytes(8)

    def source(self, payload: bytes) -> bytes | None:
        """The address a payload was sent from; None when nobody sent it."""
        check = self.checks.get(payload)
        return check.address if check else self.media.get(payload)
