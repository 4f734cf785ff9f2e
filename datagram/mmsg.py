"""recvmmsg(2) and sendmmsg(2) over preallocated arrays.

The kernel reads `struct mmsghdr` and `struct iovec` straight out of numpy arrays, so a batch of
packets costs one system call and no Python object a packet. This is the only place that uses
ctypes. Sockets are AF_INET6 and dual-stack: IPv4 peers appear as mapped addresses.
"""

from __future__ import annotations

import ctypes
import errno
import socket

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

# sockaddr_in6 padded from 28 to 32 bytes, so that a row is four 64-bit words:
#   word 0: family (16, host order) · port (16, network order) · flow info (32)
#   words 1, 2: address        word 3: scope id (32) · padding
NAME_WORDS = 4
NAME_BYTES = 28
FAMILY = np.uint64(socket.AF_INET6)

_IOVEC = np.dtype([("base", np.uint64), ("len", np.uint64)])
_MMSGHDR = np.dtype(
    [
        ("name", np.uint64),
        ("name_len", np.uint32),
        ("pad0", np.uint32),
        ("iov", np.uint64),
        ("iov_count", np.uint64),
        ("control", np.uint64),
        ("control_len", np.uint64),
        ("flags", np.int32),
        ("pad1", np.uint32),
        ("len", np.uint32),
        ("pad2", np.uint32),
    ]
)
_HEADER_WORDS = _MMSGHDR.itemsize // 8  # 0: name, 2: iov, 3: iov count
UIO_MAXIOV = 1024  # messages of one sendmmsg call; the kernel silently takes no more

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.c_int,
    ctypes.c_void_p,
]
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

_WOULD_BLOCK = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS})


class ReceiveBatch:
    """Room for `capacity` datagrams of at most `slot_bytes` each.

    After `receive` returned n, the first n rows hold: `slots` (capacity x slot_bytes) the bytes,
    `lengths` how many, `names` (capacity x 4 words) the senders, `flags` MSG_TRUNC if cut.
    """

    def __init__(self, capacity: int, slot_bytes: int) -> None:
        self.capacity = capacity
        self.slot_bytes = slot_bytes
        self.slots: U8 = np.zeros((capacity, slot_bytes), np.uint8)
        self.names: U64 = np.zeros((capacity, NAME_WORDS), np.uint64)
        rows = np.arange(capacity, dtype=np.uint64)
        self._iov = np.zeros(capacity, _IOVEC)
        self._iov["base"] = self.slots.ctypes.data + rows * np.uint64(slot_bytes)
        self._iov["len"] = slot_bytes
        self._headers = np.zeros(capacity, _MMSGHDR)
        self._headers["name"] = self.names.ctypes.data + rows * np.uint64(NAME_WORDS * 8)
        self._headers["name_len"] = NAME_BYTES
        self._headers["iov"] = self._iov.ctypes.data + rows * np.uint64(_IOVEC.itemsize)
        self._headers["iov_count"] = 1
        self.lengths: npt.NDArray[np.uint32] = self._headers["len"]
        self.flags: npt.NDArray[np.int32] = self._headers["flags"]
        self.address = self.slots.ctypes.data  # of the first slot, for iovecs into the payloads
        self._pointer = self._headers.ctypes.data

    def receive(self, fd: int, most: int | None = None) -> int:
        """Take what is queued on `fd`, `most` at most, without waiting.

        Returns how many datagrams (0: none).
        """
        taken: int = _recvmmsg(fd, self._pointer, most or self.capacity, socket.MSG_DONTWAIT, None)
        return max(taken, 0)

    def move(self, source: int, target: int) -> None:
        """Put the datagram of one row into another."""
        if source != target:
            length = self.lengths[source]
            self.slots[target, :length] = self.slots[source, :length]
            self.names[target], self.lengths[target] = self.names[source], length


class SendBatch:
    """Room for `capacity` datagrams, made of `parts` pieces of memory in all.

    Fill `part_bases`/`part_lengths` (addresses and sizes), `names` rows, and per message
    `first_part` and `part_counts` through `gather`, then `send`.
    """

    def __init__(self, capacity: int, parts: int) -> None:
        self.capacity = capacity
        self.names: U64 = np.zeros((capacity, NAME_WORDS), np.uint64)
        self._parts = np.zeros(parts, _IOVEC)
        self.part_bases: U64 = self._parts["base"]
        self.part_lengths: U64 = self._parts["len"]
        self._headers = np.zeros(capacity, _MMSGHDR)
        rows = np.arange(capacity, dtype=np.uint64)
        self._headers["name"] = self.names.ctypes.data + rows * np.uint64(NAME_WORDS * 8)
        self._headers["name_len"] = NAME_BYTES
        self._first_part: U64 = self._headers["iov"]
        self._part_counts: U64 = self._headers["iov_count"]
        self._parts_address = np.uint64(self._parts.ctypes.data)
        self._pointer = self._headers.ctypes.data
        # The same memory as words, for writing a few messages without array operations.
        self.name_words = self.names.data.cast("B").cast("Q")
        self.part_words = self._parts.view(np.uint64).data
        self._header_words = self._headers.view(np.uint64).data
        self._first_part_address = self._parts.ctypes.data
        self.gather(rows[: min(capacity, parts)], np.ones(min(capacity, parts), np.uint64))

    def gather(self, first_part: U64, part_counts: U64) -> None:
        """Message i is made of `part_counts[i]` pieces, from piece `first_part[i]` on.

        A batch whose messages have one piece each need not call this: it is how they start.
        """
        count = first_part.size
        self._first_part[:count] = self._parts_address + first_part * np.uint64(_IOVEC.itemsize)
        self._part_counts[:count] = part_counts

    def gather_one(self, message: int, first_part: int, part_count: int) -> None:
        """`gather` for one message."""
        word = message * _HEADER_WORDS
        self._header_words[word + 2] = self._first_part_address + first_part * _IOVEC.itemsize
        self._header_words[word + 3] = part_count

    def send(self, fd: int, count: int) -> tuple[int, int]:
        """Send the first `count` messages. Returns (sent, refused).

        What is in neither met a full socket buffer and is lost, as UDP loses. A message that the
        kernel refuses (no route, too long, a port that is not there) does not stop the others.
        """
        sent = refused = 0
        while sent + refused < count:
            start = sent + refused
            taken: int = _sendmmsg(
                fd,
                self._pointer + start * _MMSGHDR.itemsize,
                min(count - start, UIO_MAXIOV),
                socket.MSG_DONTWAIT,
            )
            if taken > 0:
                sent += taken
            elif ctypes.get_errno() in _WOULD_BLOCK:
                break
            else:
                refused += 1
        return sent, refused


def name_row(address: bytes) -> U64:
    """The four words of a socket name for an 18-byte address (`wire.address`)."""
    row = np.zeros(NAME_WORDS, np.uint64)
    octets = row.view(np.uint8)
    octets[0:2] = np.frombuffer(socket.AF_INET6.to_bytes(2, "little"), np.uint8)
    octets[2:4] = np.frombuffer(address[16:18], np.uint8)
    octets[8:24] = np.frombuffer(address[:16], np.uint8)
    return row


def packed_address(row: U64) -> bytes:
    """The 18-byte address in the four words of a socket name."""
    octets = row.tobytes()
    return octets[8:24] + octets[2:4]
