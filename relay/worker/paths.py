"""The two ways through a worker, as a socket to read, a core that decides, and a socket to send on.

    UpPath      public socket ─▶ Uplink ─▶ trunk socket, and what waited for its flow behind it
    DownPath    trunk socket ─▶ Downlink ─▶ public socket
    AnswerPath  claims that came down ─▶ Answers ─▶ trunk socket

`take` moves what waits, at most `BATCHES_A_WAKE` batches.
"""

from __future__ import annotations

import socket
import time

from datagram.fresh import FreshQueue
from datagram.mmsg import ReceiveBatch, SendBatch
from relay.shared.counters import Counter, Counts
from relay.shared.latency import Latency
from relay.shared.voice import VoiceWatch
from relay.worker.answers import Answers
from relay.worker.downlink import Downlink
from relay.worker.recovery import Recovery
from relay.worker.trunk_writer import TrunkWriter
from relay.worker.uplink import Uplink

BATCHES_A_WAKE = 4  # of one direction before the other gets its turn
_NS_PER_MS = 1_000_000


class Sender:
    """Sends a batch on one socket, and counts what the kernel did not take."""

    def __init__(self, batch: SendBatch, fd: int, counts: Counts, full: Counter, refused: Counter):
        self._batch = batch
        self._fd = fd
        self._counts = counts
        self._full = full
        self._refused = refused

    def send(self, count: int) -> None:
        """Send the first `count` messages."""
        if count:
            sent, refused = self._batch.send(self._fd, count)
            self._counts[self._full] += count - sent - refused
            self._counts[self._refused] += refused


class UpPath:
    """From clients to transceivers."""

    def __init__(
        self,
        public_fd: int,
        trunk_fd: int,
        received: ReceiveBatch,
        uplink: Uplink,
        writer: TrunkWriter,
        recovery: Recovery,
        counts: Counts,
        latency: Latency,
    ) -> None:
        self.queue = FreshQueue(public_fd, received)
        self._received = received
        self._uplink = uplink
        self._recovery = recovery
        self._counts = counts
        self._latency = latency
        self._sender = Sender(
            writer.outgoing,
            trunk_fd,
            counts,
            Counter.DROP_UP_SEND_BUFFER_FULL,
            Counter.DROP_UP_SEND_REFUSED,
        )

    def take(self, now_s: float, voice: VoiceWatch, channel: socket.socket) -> None:
        """Forward what waits; ask about unknown addresses over `channel`."""
        received = self._received
        for _ in range(BATCHES_A_WAKE):
            count = self.queue.receive(now_s)
            if not count:
                return
            began_ns = time.monotonic_ns()
            now_ms = began_ns // _NS_PER_MS
            self._forward(count, now_ms)
            self._latency.add(time.monotonic_ns() - began_ns)
            if voice:
                voice.note(received, count, now_ms)
            self._recovery.ask(channel)
            self.forward_released()
            if count < received.capacity:
                return

    def forward_released(self) -> None:
        """Send on packets that waited for their flow."""
        while datagrams := self._recovery.lay_out(int(time.time())):
            self._sender.send(datagrams)

    def _forward(self, count: int, now_ms: int) -> None:
        try:
            datagrams = self._uplink.route(count, now_ms, int(time.time()))
        except Exception as error:
            self._forward_each(count, now_ms, error)
        else:
            self._sender.send(datagrams)

    def _forward_each(self, count: int, now_ms: int, error: Exception) -> None:
        """One packet of the batch raised: take them one by one, so that it costs no other."""
        if count == 1:
            self._uplink.give_up(error)
            return
        self._uplink.take_back(count)
        for row in range(count):
            self._received.move(row, 0)
            self._forward(1, now_ms)


class DownPath:
    """From transceivers to clients."""

    def __init__(
        self,
        trunk_fd: int,
        public_fd: int,
        received: ReceiveBatch,
        downlink: Downlink,
        counts: Counts,
        latency: Latency,
    ) -> None:
        self.queue = FreshQueue(trunk_fd, received)
        self._received = received
        self._downlink = downlink
        self._latency = latency
        self._sender = Sender(
            downlink.outgoing,
            public_fd,
            counts,
            Counter.DROP_DOWN_SEND_BUFFER_FULL,
            Counter.DROP_DOWN_SEND_REFUSED,
        )

    def take(self, now_s: float) -> None:
        """Forward what waits."""
        for _ in range(BATCHES_A_WAKE):
            count = self.queue.receive(now_s)
            if not count:
                return
            began_ns = time.monotonic_ns()
            now_ms = began_ns // _NS_PER_MS
            self._sender.send(self._downlink.unpack(count, now_ms, int(time.time())))
            self._latency.add(time.monotonic_ns() - began_ns)
            if count < self._received.capacity:
                return


class AnswerPath:
    """Answers to transceivers."""

    def __init__(self, trunk_fd: int, answers: Answers, counts: Counts) -> None:
        self._answers = answers
        self._sender = Sender(
            answers.outgoing,
            trunk_fd,
            counts,
            Counter.DROP_UP_SEND_BUFFER_FULL,
            Counter.DROP_UP_SEND_REFUSED,
        )

    def __len__(self) -> int:
        """How many wait."""
        return len(self._answers)

    def take(self, now_ms: int) -> None:
        """Send those that are true by now."""
        while datagrams := self._answers.lay_out(now_ms, int(time.time())):
            self._sender.send(datagrams)
