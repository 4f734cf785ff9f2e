"""What waits for the stream, and copies of what is there and not stored yet. Pure, and bounded.

    add ─▶ waiting ── next_batch ──▶ batch ── sent ──▶ copies ── stored ──▶ forgotten
                                                         └─── lost ──▶ sent once more

Redis may lose what it was given, so a batch is forgotten only when the recorder says that it is
stored. Copies give way when there is no room for what is new: they are the second place of what
they hold, and what waits has no other. When what waits is full itself, nothing has room.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from trunkline.v1 import record_pb2 as pb

MAX_BYTES = 16 * 1024 * 1024
MAX_BATCH_BYTES = 64 * 1024  # and one event more
LARGEST_EVENT_BYTES = 100 * 1024  # with its content
MAX_BATCH_EVENTS = 500


@dataclass(slots=True)
class Outgoing:
    """One write into the stream. `entry` is where it is there, "" until it was sent."""

    number: int
    content: bytes = field(repr=False)
    events: int
    entry: str = ""
    sent_s: float = 0.0


class Backlog:
    """Batches of one writer, numbered from 1."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[pb.Envelope, int]] = deque()
        self._batch: Outgoing | None = None  # was given out, and is not sent yet
        self._copies: OrderedDict[int, Outgoing] = OrderedDict()
        self._numbers = 0
        self.waiting_bytes = 0
        self.copied_bytes = 0

    @property
    def waiting_events(self) -> int:
        """Events that are not in the stream."""
        return len(self._waiting) + (self._batch.events if self._batch else 0)

    @property
    def copies(self) -> int:
        """Batches that are in the stream, as far as we know, and not stored yet."""
        return len(self._copies)

    @property
    def has_room(self) -> bool:
        """Whether an event of any size can wait, and one that says what is missing."""
        return self.waiting_bytes + 2 * LARGEST_EVENT_BYTES <= self._max_bytes

    def has(self, batch: Outgoing) -> bool:
        """Whether a batch has a copy here: it is not known to be stored."""
        return batch.number in self._copies

    @property
    def full_batch(self) -> bool:
        """Whether there is enough for a whole batch."""
        return self.waiting_bytes >= MAX_BATCH_BYTES or len(self._waiting) >= MAX_BATCH_EVENTS

    def add(self, envelope: pb.Envelope) -> None:
        """Let an event wait. Whoever adds asks first whether it `has_room`."""
        size = envelope.ByteSize()
        self._waiting.append((envelope, size))
        self.waiting_bytes += size
        self._make_room()

    def next_batch(self) -> Outgoing | None:
        """What to send next, the same one until it is `sent`; None when nothing waits."""
        if self._batch is None and self._waiting:
            self._batch = self._gather()
        return self._batch

    def sent(self, batch: Outgoing, entry: str, now_s: float) -> None:
        """A batch is in the stream; its copy stays until it is stored, or lost."""
        if batch is self._batch:
            self._batch = None
            self.waiting_bytes -= len(batch.content)
        batch.entry, batch.sent_s = entry, now_s
        self.copied_bytes += 0 if batch.number in self._copies else len(batch.content)
        self._copies[batch.number] = batch
        self._copies.move_to_end(batch.number)
        self._make_room()

    def stored(self, numbers: Collection[int]) -> None:
        """The recorder has stored these."""
        for number in numbers:
            copy = self._copies.pop(number, None)
            self.copied_bytes -= len(copy.content) if copy else 0

    def overdue(self, before_s: float, most: int) -> list[Outgoing]:
        """Copies that were sent before that moment, the oldest first."""
        found: list[Outgoing] = []
        for copy in self._copies.values():
            if copy.sent_s >= before_s or len(found) >= most:
                break
            found.append(copy)
        return found

    def seen(self, copies: Collection[Outgoing], now_s: float) -> None:
        """These are in the stream still: look again later."""
        for copy in copies:
            if copy.number in self._copies:
                copy.sent_s = now_s
                self._copies.move_to_end(copy.number)

    def _gather(self) -> Outgoing:
        batch, size = pb.Batch(), 0
        while self._waiting and size < MAX_BATCH_BYTES and len(batch.envelopes) < MAX_BATCH_EVENTS:
            envelope, bytes_ = self._waiting.popleft()
            batch.envelopes.append(envelope)
            size += bytes_
        content = batch.SerializeToString()
        self.waiting_bytes += len(content) - size  # until it is sent
        self._numbers += 1
        return Outgoing(self._numbers, content, len(batch.envelopes))

    def _make_room(self) -> None:
        while self._copies and self.waiting_bytes + self.copied_bytes > self._max_bytes:
            _, copy = self._copies.popitem(last=False)
            self.copied_bytes -= len(copy.content)
