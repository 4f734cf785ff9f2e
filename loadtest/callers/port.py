"""A caller's UDP socket behind its network, which delays, loses or doubles packets.

Everything that waits is in one heap for all callers of the process, so that a delay costs no timer.
"""

from __future__ import annotations

import heapq
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from loadtest.callers.timed_socket import Record, take, timed_socket

Delays = Callable[[], tuple[float, ...]]
"""Seconds until a packet arrives: nothing when it is lost, twice when it is doubled."""

MAX_WAITING = 200_000
"""Packets under way in all networks of the process; beyond it they are lost."""


def straight() -> tuple[float, ...]:
    """A packet arrives at once."""
    return (0.0,)


@dataclass
class Later:
    """What happens when its time has come, in order of time."""

    dropped: int = 0
    _heap: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def at(self, due_s: float, act: Callable[[], None]) -> None:
        """Do this at a Unix time, or never when too much waits already."""
        if len(self._heap) >= MAX_WAITING:
            self.dropped += 1
            return
        heapq.heappush(self._heap, (due_s, next(self._numbers), act))

    def run(self, now_s: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now_s:
            heapq.heappop(self._heap)[2]()


class Port:
    """One socket, connected to a relay; `rebind` gives it another address, as a NAT would."""

    def __init__(
        self, host: str, port: int, later: Later, out: Delays = straight, back: Delays = straight
    ) -> None:
        """Open the socket. Raises OSError."""
        self._remote = (host, port)
        self._later = later
        self._out, self._back = out, back
        self.sock = self._open()

    def send(self, packet: bytes, now_s: float) -> None:
        """Send a packet through the network; a refused one (ICMP) counts as lost."""
        for delay_s in self._out():
            if delay_s:
                self._later.at(now_s + delay_s, lambda: self._send(packet))
            else:
                self._send(packet)

    def receive(self, deliver: Callable[[bytes, float], None], now_s: float) -> None:
        """Deliver packets with the time they came, those that are delayed when they are due."""
        records: list[Record[None]] = []
        take(self.sock, None, records)
        for seen_s, _, packet in records:
            for delay_s in self._back():
                due_s = seen_s + delay_s
                if due_s <= now_s:
                    deliver(packet, due_s)
                else:
                    self._later.at(due_s, _delivery(deliver, packet, due_s))

    def rebind(self) -> socket.socket:
        """Go on from a new socket; returns the one before, for whoever watched it to let go of."""
        before, self.sock = self.sock, self._open()
        return before

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def _send(self, packet: bytes) -> None:
        with suppress(OSError):
            self.sock.send(packet)

    def _open(self) -> socket.socket:
        sock = timed_socket()
        sock.connect(self._remote)
        return sock


def _delivery(
    deliver: Callable[[bytes, float], None], packet: bytes, due_s: float
) -> Callable[[], None]:
    return lambda: deliver(packet, due_s)
