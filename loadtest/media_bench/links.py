"""How packets of many callers travel: in trunk datagrams, or each by a socket of its own.

Both have `open` (a key for a new caller), `send` (pairs of key and packet, as one batch) and
`drain`, which only keeps what has come with the kernel's receive time; `packets` takes that apart
afterwards.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from loadtest.callers.caller import Caller
from loadtest.callers.timed_socket import Key, Record, take, timed_socket
from wire import trunk
from wire.address import pack_address
from wire.errors import WireError
from wire.keys import KeyRing

FIRST_PORT = 10_000
BINDING_REQUEST = b"\x00\x01"  # RFC 8489 section 5

Frame = tuple[Key, bytes]


class Link(Protocol[Key]):
    """What the generator needs of a way to the other side."""

    def open(self, caller: Caller) -> Key:
        """Return the key of a caller that has its answer."""

    def close_one(self, key: Key) -> None:
        """Forget a caller."""

    def sockets(self) -> Sequence[socket.socket]:
        """Sockets to watch while nobody drains."""

    def send(self, frames: Sequence[Frame[Key]]) -> None:
        """Send packets at once."""

    def drain(self, frames: Sequence[Frame[Key]], into: list[Record[Key]]) -> None:
        """Keep what waits, at least for the callers of these frames."""

    def drain_all(self, into: list[Record[Key]]) -> None:
        """Keep what waits, for every caller."""

    def packets(self, records: Iterable[Record[Key]]) -> Iterator[Record[Key]]:
        """Unix time of arrival, caller and packet of everything in the records."""

    def close(self) -> None:
        """Close every socket."""


class TrunkLink:
    """One socket that speaks the trunk as a relay worker does. Keys are made-up client addresses.

    So the load generator costs a fraction of a packet each, and the engine alone is measured.
    """

    def __init__(self, keys: KeyRing, node: tuple[str, int], mtu: int = trunk.DEFAULT_MTU) -> None:
        self._tagger = trunk.Tagger(keys)
        self._node = node
        self._mtu = mtu
        self._sender = secrets.randbits(32)
        self._count = secrets.randbits(32)
        self._opened = 0
        self._socket = timed_socket()

    def open(self, caller: Caller) -> bytes:
        """Return a fresh address of the range for benchmarks (RFC 2544); nothing is sent there."""
        del caller  # it would send to the relay, in whose place this link stands
        number = self._opened
        self._opened += 1
        return pack_address(
            f"198.18.{number >> 8 & 0xFF}.{number & 0xFF}", FIRST_PORT + (number >> 16)
        )

    def close_one(self, key: bytes) -> None:
        """Do nothing: there is nothing to close."""

    def sockets(self) -> Sequence[socket.socket]:
        """Return the one socket."""
        return (self._socket,)

    def send(self, frames: Sequence[Frame[bytes]]) -> None:
        """Send packets, as many in a datagram as fit."""
        time_s = int(time.time())
        for run in trunk.fill(frames, self._mtu):
            self._count = (self._count + 1) & 0xFFFF_FFFF
            datagram = trunk.pack(self._tagger, self._sender, time_s, self._count, run)
            self._socket.sendto(datagram, self._node)

    def drain(self, frames: Sequence[Frame[bytes]], into: list[Record[bytes]]) -> None:
        """Keep what waits."""
        del frames
        take(self._socket, b"", into)

    def drain_all(self, into: list[Record[bytes]]) -> None:
        """Keep what waits."""
        take(self._socket, b"", into)

    def packets(self, records: Iterable[Record[bytes]]) -> Iterator[Record[bytes]]:
        """Check tags and take datagrams apart; a bad one is left out, which counts as loss."""
        for arrived_s, _, datagram in records:
            try:
                read = trunk.read(self._tagger, datagram)
            except WireError:
                continue
            for address, packet in () if read.first in trunk.CONTROL else read.frames:
                yield arrived_s, address, packet

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class UdpLink:
    """A connected socket for each caller, as for real callers. Keys are the sockets."""

    def __init__(self) -> None:
        self._callers: dict[socket.socket, Caller] = {}

    def open(self, caller: Caller) -> socket.socket:
        """Return a new socket connected to the other side. Raises OSError."""
        sock = timed_socket()
        sock.connect((caller.remote.host, caller.remote.port))
        self._callers[sock] = caller
        return sock

    def close_one(self, key: socket.socket) -> None:
        """Close the caller's socket."""
        del self._callers[key]
        key.close()

    def sockets(self) -> Sequence[socket.socket]:
        """Return all sockets."""
        return list(self._callers)

    def send(self, frames: Sequence[Frame[socket.socket]]) -> None:
        """Send each packet from its caller's socket; a refused one (ICMP) counts as loss."""
        for sock, packet in frames:
            try:
                sock.send(packet)
            except OSError:
                continue

    def drain(
        self, frames: Sequence[Frame[socket.socket]], into: list[Record[socket.socket]]
    ) -> None:
        """Keep what waits for the callers of these frames: each is drained once in 20 ms."""
        for sock, _ in frames:
            self._take(sock, into)

    def drain_all(self, into: list[Record[socket.socket]]) -> None:
        """Keep what waits for anyone."""
        for sock in self._callers:
            self._take(sock, into)

    def packets(self, records: Iterable[Record[socket.socket]]) -> Iterator[Record[socket.socket]]:
        """Return the records: each is one packet."""
        return iter(records)

    def close(self) -> None:
        """Close every socket."""
        for sock in self._callers:
            sock.close()
        self._callers.clear()

    def _take(self, sock: socket.socket, into: list[Record[socket.socket]]) -> None:
        """Keep what waits; a check is answered at once, or the other side would hang up."""
        before = len(into)
        take(sock, sock, into)
        for _, _, packet in into[before:]:
            if packet[:2] == BINDING_REQUEST:
                self.send([(sock, answer) for answer in self._callers[sock].receive(packet)])
