"""recvmmsg and sendmmsg against plain sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import numpy as np
import pytest

from datagram.mmsg import ReceiveBatch, SendBatch, name_row, packed_address
from wire.address import pack_address


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A dual-stack UDP socket on a free port."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        yield sock


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_receive_gives_bytes_lengths_and_senders(bound: socket.socket, family: int) -> None:
    """Datagrams of both families come in order, with their sender's address."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    batch = ReceiveBatch(8, 64)
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        for text in (b"one", b"", b"three"):
            peer.sendto(text, (host, bound.getsockname()[1]))
        assert batch.receive(bound.fileno()) == 3
        texts = [bytes(batch.slots[i, : batch.lengths[i]]) for i in range(3)]
        assert texts == [b"one", b"", b"three"]
        sender = pack_address(host, peer.getsockname()[1])
        assert {packed_address(batch.names[i]) for i in range(3)} == {sender}
    assert batch.receive(bound.fileno()) == 0


def test_a_datagram_longer_than_its_slot_is_cut_and_flagged(bound: socket.socket) -> None:
    """MSG_TRUNC tells a cut datagram from one that just fits."""
    batch = ReceiveBatch(2, 4)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"123456", ("127.0.0.1", bound.getsockname()[1]))
        peer.sendto(b"1234", ("127.0.0.1", bound.getsockname()[1]))
    assert batch.receive(bound.fileno()) == 2
    assert [bool(flag & socket.MSG_TRUNC) for flag in batch.flags[:2]] == [True, False]


def test_a_batch_takes_no_more_than_its_capacity(bound: socket.socket) -> None:
    """What does not fit waits for the next call."""
    batch = ReceiveBatch(4, 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(6):
            peer.sendto(bytes([number]), ("127.0.0.1", bound.getsockname()[1]))
    assert batch.receive(bound.fileno()) == 4
    assert batch.receive(bound.fileno()) == 2


def test_send_gathers_parts_to_each_name(bound: socket.socket) -> None:
    """Messages are gathered from pieces of memory and reach the address in their row."""
    memory = np.frombuffer(b"headpayload", np.uint8).copy()
    batch = SendBatch(2, parts=3)
    batch.part_bases[:3] = memory.ctypes.data + np.array([0, 4, 4])
    batch.part_lengths[:3] = [4, 7, 3]
    batch.gather(np.array([0, 2], np.uint64), np.array([2, 1], np.uint64))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        batch.names[:2] = name_row(pack_address(*peer.getsockname()))
        assert batch.send(bound.fileno(), 2) == (2, 0)
        assert [peer.recv(100), peer.recv(100)] == [b"headpayload", b"pay"]


def test_a_refused_message_does_not_stop_the_others(bound: socket.socket) -> None:
    """A message the kernel will not send (here: too long) is counted, the next one goes."""
    memory = np.zeros(70_000, np.uint8)
    batch = SendBatch(3, parts=3)
    batch.part_bases[:3] = memory.ctypes.data
    batch.part_lengths[:3] = [1, 70_000, 2]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        batch.names[:3] = name_row(pack_address(*peer.getsockname()))
        assert batch.send(bound.fileno(), 3) == (2, 1)
        assert [len(peer.recv(100)), len(peer.recv(100))] == [1, 2]
