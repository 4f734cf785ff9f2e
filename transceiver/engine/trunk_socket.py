"""The trunk socket of a transceiver: one UDP port for all calls, used in batches.

The socket is dual-stack, so a relay is an 18-byte address (`wire.address`) whatever its family.
"""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from datagram.fresh import FreshQueue
from datagram.mmsg import NAME_WORDS, ReceiveBatch, SendBatch, name_row
from fleet.errors import AddressInUse, AddressUnusable
from trunkline.process.address import Address
from wire.trunk import DEFAULT_MTU, SLOT_BYTES

BATCH = 64  # datagrams of one system call
NAME_SLOT_BYTES = 8 * NAME_WORDS  # of a socket name: address at 8, port at 2 (see `mmsg`)
MAX_PER_WAKEUP = 4 * BATCH  # then the loop gets its turn; what is left wakes it again
BUFFER_BYTES = 4 * 1024 * 1024  # 2 s of 1,000 calls, asked for; the kernel may grant less
MAX_NAMES = 4096  # relay workers remembered with their socket name


class TrunkSocket:
    """A bound, non-blocking UDP socket that sends datagrams of at most `mtu` bytes.

    `address` is a numeric one; port 0 asks for any free port. Raises AddressInUse or
    AddressUnusable.
    """

    def __init__(self, address: Address, mtu: int = DEFAULT_MTU) -> None:
        self._socket = _bind(address)
        self._mtu = mtu
        self._incoming = ReceiveBatch(BATCH, SLOT_BYTES)
        self._queue = FreshQueue(self._socket.fileno(), self._incoming)
        self._outgoing = SendBatch(BATCH, BATCH)
        self._staging = np.zeros((BATCH, mtu), np.uint8)
        rows = np.arange(BATCH, dtype=np.uint64)
        base = np.uint64(self._staging.ctypes.data)
        self._outgoing.part_bases[:BATCH] = base + rows * np.uint64(mtu)
        # Batches are small, so rows are read and written as plain memory: an array operation on
        # one row costs more than the row.
        self._staging_bytes = self._staging.reshape(-1).data
        self._slot_bytes = self._incoming.slots.reshape(-1).data
        self._name_bytes = self._incoming.names.reshape(-1).view(np.uint8).data
        self._names: OrderedDict[bytes, memoryview] = OrderedDict()

    @property
    def address(self) -> Address:
        """Where it is bound."""
        host, port = self._socket.getsockname()[:2]
        mapped_v4 = host.removeprefix("::ffff:")
        return Address(mapped_v4 if "." in mapped_v4 else host, port)

    def fileno(self) -> int:
        """The descriptor, for the event loop."""
        return self._socket.fileno()

    def receive(self, now_s: float) -> list[tuple[bytes, bytes]]:
        """What waits, as datagram and source address; at most `MAX_PER_WAKEUP`.

        What has waited longer than anybody wants it is passed over (`datagram.fresh`).
        """
        taken: list[tuple[bytes, bytes]] = []
        count = BATCH
        while count == BATCH and len(taken) < MAX_PER_WAKEUP:
            count = self._queue.receive(now_s)
            taken += self._rows(count)
        return taken

    def take_stale(self) -> int:
        """How many datagrams were passed over since this was asked last."""
        return self._queue.take_stale()

    def send(self, datagrams: Sequence[tuple[bytes, bytes]]) -> int:
        """Send pairs of datagram and relay address; how many were lost (a full buffer, no route).

        Raises ValueError for a datagram that is longer than the MTU.
        """
        lost = 0
        for start in range(0, len(datagrams), BATCH):
            lost += self._send_batch(datagrams[start : start + BATCH])
        return lost

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def _rows(self, count: int) -> list[tuple[bytes, bytes]]:
        slots, names = self._slot_bytes, self._name_bytes
        taken = []
        for row, length in enumerate(self._incoming.lengths[:count].tolist()):
            start, name = row * SLOT_BYTES, row * NAME_SLOT_BYTES
            relay = bytes(names[name + 8 : name + 24]) + bytes(names[name + 2 : name + 4])
            taken.append((bytes(slots[start : start + length]), relay))
        return taken

    def _send_batch(self, datagrams: Sequence[tuple[bytes, bytes]]) -> int:
        staging, parts = self._staging_bytes, self._outgoing.part_words
        names, mtu = self._outgoing.name_words, self._mtu
        for row, (datagram, relay) in enumerate(datagrams):
            if len(datagram) > mtu:  # it would write over its neighbour
                raise ValueError("longer than the trunk's MTU")
            start, word = row * mtu, row * NAME_WORDS
            staging[start : start + len(datagram)] = datagram
            parts[2 * row + 1] = len(datagram)  # an iovec is two words: base, length
            names[word : word + NAME_WORDS] = self._name(relay)
        sent, _refused = self._outgoing.send(self.fileno(), len(datagrams))
        return len(datagrams) - sent

    def _name(self, relay: bytes) -> memoryview:
        row = self._names.get(relay)
        if row is None:
            if len(self._names) >= MAX_NAMES:
                self._names.popitem(last=False)
            row = self._names[relay] = name_row(relay).data.cast("B").cast("Q")
        return row


def _bind(address: Address) -> socket.socket:
    host = address.host if ":" in address.host else f"::ffff:{address.host}"
    endpoint = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        endpoint.setblocking(False)
        endpoint.bind((host, address.port))
    except OSError as error:
        endpoint.close()
        raise _startup_error(address, error) from None
    return endpoint


def _startup_error(address: Address, error: OSError) -> AddressInUse | AddressUnusable:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse(f"{address} is in use by another process")
    reason = (error.strerror or "unknown host").lower()
    return AddressUnusable(f"cannot bind {address} ({reason})")
