"""Packets from unknown addresses wait here while others are asked. Everything is bounded.

    park ──▶ a lot per address ──▶ questions ──▶ somebody asks
                                                    │
             release (in order) ◀── an owner ◀──────┤
             dropped, remembered ◀── nobody has it ◀┤
             dropped ◀── no answer within hold_ms ◀─┘

Anybody can send from an address we do not know, so everything here is bounded: packets in all and
of one address, how long they wait, how many addresses may be asked about (a token bucket), and how
many that nobody had are remembered. A flood fills the lots and spends the questions; then further
strangers are dropped at the cost of a dictionary look-up, and live flows notice nothing.

Pure: bytes and `now` in milliseconds in, values out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from relay.worker.allowance import Allowance

HOLD_MS = (
    250  # looked at every 50 ms, so 300 at most; older sound the receiver has concealed by then
)
PACKETS_PER_ADDRESS = 32  # hold_ms of media at 50 a second, and a DTLS flight
FORGET_MS = 1000  # how long an address that nobody had is not asked about again
MAX_UNKNOWN = 16_384
BURST_S = 5  # a relay that was just replaced asks for all its callers at once


class Verdict(Enum):
    """What became of a packet given to `Parking.park`."""

    PARKED = "parked"
    FULL = "parking_full"
    NOT_ASKED = "not_asked"  # no question left: too many strangers this second
    UNKNOWN = "unknown_address"  # nobody had this address a moment ago


@dataclass(slots=True)
class _Lot:
    since_ms: int
    packets: list[bytes] = field(default_factory=list)


class Parking:
    """Bounded lots by 18-byte address; `len` is the packets parked now."""

    def __init__(
        self,
        *,
        packets: int,
        questions_per_s: int,
        packets_per_address: int = PACKETS_PER_ADDRESS,
        hold_ms: int = HOLD_MS,
        forget_ms: int = FORGET_MS,
        max_unknown: int = MAX_UNKNOWN,
    ) -> None:
        self._packets = packets
        self._packets_per_address = packets_per_address
        self._hold_ms = hold_ms
        self._forget_ms = forget_ms
        self._max_unknown = max_unknown
        self._questions = Allowance(questions_per_s, questions_per_s * BURST_S)
        # Both in the order they were made, so that the oldest stands first.
        self._lots: dict[bytes, _Lot] = {}
        self._unknown: dict[bytes, int] = {}
        self._to_ask: list[bytes] = []
        self._parked = 0

    def __len__(self) -> int:
        return self._parked

    def __contains__(self, address: bytes) -> bool:
        return address in self._lots

    @property
    def remembered(self) -> int:
        """How many addresses are remembered as nobody's."""
        return len(self._unknown)

    def park(self, address: bytes, packet: bytes, now_ms: int) -> Verdict:
        """Keep the packet, if its address may still be asked about and there is room."""
        lot = self._lots.get(address)
        if lot is None:
            if now_ms - self._unknown.get(address, -self._forget_ms) < self._forget_ms:
                return Verdict.UNKNOWN
            if self._parked >= self._packets:
                return Verdict.FULL
            if not self._questions.spend(1, now_ms):
                return Verdict.NOT_ASKED
            lot = self._lots[address] = _Lot(now_ms)
            self._to_ask.append(address)
        elif self._parked >= self._packets or len(lot.packets) >= self._packets_per_address:
            return Verdict.FULL
        lot.packets.append(packet)
        self._parked += 1
        return Verdict.PARKED

    def questions(self) -> list[bytes]:
        """The addresses to ask about that were not in an earlier answer of this method."""
        asked, self._to_ask = self._to_ask, []
        return [address for address in asked if address in self._lots]

    def release(self, address: bytes) -> list[bytes]:
        """The packets of an address that has an owner now, in the order they came."""
        self._unknown.pop(address, None)
        lot = self._lots.pop(address, None)
        if lot is None:
            return []
        self._parked -= len(lot.packets)
        return lot.packets

    def refuse(self, address: bytes, now_ms: int) -> int:
        """Nobody has this address: drop its packets, remember it; returns how many were dropped."""
        dropped = len(self.release(address))
        if len(self._unknown) >= self._max_unknown:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[address] = now_ms
        return dropped

    def expire(self, now_ms: int) -> int:
        """Drop what has waited too long; returns how many packets. Call it often."""
        dropped = 0
        while self._lots:
            address = next(iter(self._lots))
            if now_ms - self._lots[address].since_ms < self._hold_ms:
                break
            dropped += len(self.release(address))
        self._forget(now_ms)
        return dropped

    def _forget(self, now_ms: int) -> None:
        while self._unknown:
            address = next(iter(self._unknown))
            if now_ms - self._unknown[address] < self._forget_ms:
                return
            del self._unknown[address]
