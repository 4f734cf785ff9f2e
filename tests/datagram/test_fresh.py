"""What waited in a socket for too long is passed over, and nothing else is."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from datagram import fresh
from datagram.fresh import WORTH_S, FreshQueue
from datagram.mmsg import ReceiveBatch

CAPACITY = 8


class Line:
    """A socket, who sends to it, and a queue that reads it.

    `pass_time` makes what waits older: the kernel's stamps of then are set back.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capacity: int = CAPACITY) -> None:
        self.bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bound.bind(("127.0.0.1", 0))
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.now_s = 100.0
        self.asked = 0
        self._passed: list[tuple[float, float]] = []
        monkeypatch.setattr(fresh, "fcntl", SimpleNamespace(ioctl=self._ioctl))
        self.batch = ReceiveBatch(capacity, 16)
        self.queue = FreshQueue(self.bound.fileno(), self.batch)

    def _ioctl(self, fd: int, request: int, stamp: bytearray) -> None:
        fcntl.ioctl(fd, request, stamp)
        seconds, nanoseconds = struct.unpack("@qq", stamp)
        came_s = seconds + nanoseconds / 1e9
        back_s = sum(length_s for at_s, length_s in self._passed if came_s < at_s)
        struct.pack_into("@qq", stamp, 0, int(came_s - back_s), int((came_s - back_s) % 1 * 1e9))
        self.asked += 1

    def send(self, *texts: bytes) -> None:
        for text in texts:
            self.peer.sendto(text, self.bound.getsockname())

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self._passed.append((time.time(), seconds))

    def receive(self) -> list[bytes]:
        count = self.queue.receive(self.now_s)
        return [bytes(self.batch.slots[i, : self.batch.lengths[i]]) for i in range(count)]

    def close(self) -> None:
        self.bound.close()
        self.peer.close()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line whose queue was just found empty."""
    line = Line(monkeypatch)
    assert line.receive() == []
    yield line
    line.close()


def test_all_is_fresh_while_the_reader_comes_in_time(line: Line) -> None:
    """Batches that are not full cost no question to the kernel."""
    line.asked = 0
    line.send(b"one", b"two")
    line.pass_time(WORTH_S / 2)
    assert line.receive() == [b"one", b"two"]
    assert line.receive() == []
    assert (line.queue.take_stale(), line.asked) == (0, 0)


def test_after_a_pause_the_old_is_passed_over(line: Line) -> None:
    """What came before and what came right now are told apart one by one."""
    line.send(b"old", b"older")
    line.pass_time(WORTH_S + 0.1)
    line.send(b"new", b"newer")
    assert line.receive() == [b"new"]
    assert line.receive() == [b"newer"]
    assert line.queue.take_stale() == 2
    assert line.queue.take_stale() == 0


def test_a_queue_that_is_old_from_end_to_end(line: Line) -> None:
    """Nothing is left, and the reader is told so."""
    line.send(*[b"old"] * 3 * CAPACITY)
    line.pass_time(60)
    assert line.receive() == []
    assert line.queue.take_stale() == 3 * CAPACITY


def test_a_reader_that_is_too_slow_skips_what_it_cannot_make_good(line: Line) -> None:
    """A queue that stands is seen by its full batches, though the reader never paused."""
    line.send(*[b"old"] * 3 * CAPACITY)
    line.pass_time(WORTH_S * 0.9)
    assert len(line.receive()) == CAPACITY
    line.pass_time(WORTH_S * 0.2)
    line.send(b"new")
    assert line.receive() == [b"new"]
    assert line.queue.take_stale() == 2 * CAPACITY


def test_the_first_look_is_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a socket over does not know how long nobody read it."""
    line = Line(monkeypatch)
    try:
        line.send(b"old")
        line.pass_time(WORTH_S + 0.1)
        line.send(b"new")
        assert line.receive() == [b"new"]
    finally:
        line.close()


def test_a_kernel_without_stamps_passes_nothing_over(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ioctl that fails says nothing about age."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(fresh, "fcntl", SimpleNamespace(ioctl=refuse))
    line.send(b"one")
    line.pass_time(60)
    assert line.receive() == [b"one"]
