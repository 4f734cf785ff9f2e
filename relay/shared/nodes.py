"""The directory as the packet path reads it: where each transceiver is, by node index.

Plain arrays over all 65,536 indexes (2.9 MB), so that a batch of packets is looked up at once.
They lie over shared memory: the supervisor writes, all workers read, nobody sends anything.

Two columns are the workers' own. One says when a node was heard last. The other says which epoch
of an index is fenced (`relay.worker.claims`): its owner was lost, its calls are another's, and what
it still sends must reach nobody. A fence raises the epoch of the table, as it does in the store, to
one that nobody has; so flows and tokens of that owner are stale from then on at no cost to anybody.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datagram.mmsg import NAME_WORDS, U64, name_row
from wire.epoch import is_older, next_epoch
from wire.token import MAX_EPOCH, MAX_NODE

NO_EPOCH = -1
_NODES, _EPOCHS = MAX_NODE + 1, MAX_EPOCH + 1
_NAMES_BYTES = _NODES * NAME_WORDS * 8
_COLUMN_BYTES = _NODES * 4
SIZE_BYTES = _NAMES_BYTES + 3 * _COLUMN_BYTES
_MS_MASK = 0xFFFFFFFF


class FlowOwner(NamedTuple):
    """Whose a flow is: a node index and its epoch, 0–65535 each."""

    node: int
    epoch: int


class NodeTable:
    """Trunk address and epoch of every node; `epochs` is -1 where there is none."""

    def __init__(self, buffer: memoryview) -> None:
        """Lay the table over `buffer`, `SIZE_BYTES` long; what it holds is kept."""
        octets = np.frombuffer(buffer, np.uint8, count=SIZE_BYTES)
        self.names: U64 = octets[:_NAMES_BYTES].view(np.uint64).reshape(_NODES, NAME_WORDS)
        # Kept one too high, so that fresh memory (all zero) is an empty directory.
        columns = octets[_NAMES_BYTES:].view(np.int32).reshape(3, _NODES)
        self._epochs_plus_1: npt.NDArray[np.int32] = columns[0]
        self._fenced_plus_1: npt.NDArray[np.int32] = columns[1]
        self.heard: npt.NDArray[np.uint32] = columns[2].view(np.uint32)
        self._one_epoch_plus_1 = self._epochs_plus_1.data
        self._one_fenced_plus_1 = self._fenced_plus_1.data
        self._one_heard = self.heard.data
        self._name_words = self.names.data.cast("B").cast("Q")

    def put(self, index: int, epoch: int, address: bytes) -> None:
        """A node appears, moves to another 18-byte address, or has a new owner (epoch).

        Late news of an epoch that is fenced change nothing.
        """
        if self._is_fenced(index, epoch):
            return
        if self.epoch(index) != epoch:
            self._one_heard[index] = 0  # another owner, who has said nothing yet
        # In this order a reader sees the old node, none, or the new one; never half of each.
        self._epochs_plus_1[index] = 0
        self.names[index] = name_row(address)
        self._epochs_plus_1[index] = epoch + 1
        self._keep_out_fenced(index)  # a worker may have fenced it between the first line and here

    def adopt(self, other: NodeTable) -> None:
        """Take over what another relay's table has and this one does not. Before anybody reads."""
        fences = (self._fenced_plus_1 == 0) & (other._fenced_plus_1 != 0)
        self._fenced_plus_1[fences] = other._fenced_plus_1[fences]
        news = (self._epochs_plus_1 == 0) & (other._epochs_plus_1 != 0)
        self.names[news] = other.names[news]
        self._epochs_plus_1[news] = other._epochs_plus_1[news]
        for index in fences.nonzero()[0].tolist():
            self._keep_out_fenced(index)

    def remove(self, index: int) -> None:
        """A node is gone; its flows are dropped as packets come, and expire."""
        self._epochs_plus_1[index] = 0

    def fence(self, index: int, epoch: int) -> None:
        """Believe the owner of this epoch no more, also if it is over or not known here.

        The last of several stays. Any worker may do this: should two fence one index at once, a
        claim that comes again (`wire.claim`) puts that right.
        """
        fenced = self._one_fenced_plus_1[index] - 1
        if fenced >= 0 and is_older(epoch, than=fenced):
            return
        self._fenced_plus_1[index] = epoch + 1
        self._keep_out_fenced(index)

    @property
    def fenced_count(self) -> int:
        """How many indexes have had an owner that was fenced, and none since."""
        return int(np.count_nonzero(self._fenced_now()))

    def fenced_nodes(self) -> list[FlowOwner]:
        """Those owners, by index."""
        indexes = self._fenced_now().nonzero()[0]
        epochs = self._fenced_plus_1[indexes] - 1
        return [FlowOwner(*pair) for pair in zip(indexes.tolist(), epochs.tolist(), strict=True)]

    def hear(self, index: int, now_ms: int) -> None:
        """A node has said something at this monotonic time, kept modulo 2^32; 0 is for never."""
        self._one_heard[index] = now_ms & _MS_MASK or 1

    def epoch(self, index: int) -> int:
        """The epoch of one node, -1 if there is none."""
        return int(self._one_epoch_plus_1[index]) - 1

    def name(self, index: int) -> memoryview:
        """The socket name of one node, as words."""
        return self._name_words[index * NAME_WORDS : (index + 1) * NAME_WORDS]

    def epochs(self, indexes: npt.NDArray[np.uint16]) -> npt.NDArray[np.int32]:
        """The epochs of n nodes, -1 where there is none."""
        return self._epochs_plus_1[indexes] - 1

    def knows_sender(self, sender: int) -> bool:
        """Whether a trunk datagram's sender (`wire.trunk`) is a node, and of its current epoch."""
        # The fence is looked at as well: the epoch is raised a moment after it.
        index, epoch = sender >> 16, sender & 0xFFFF
        return self.epoch(index) == epoch and not self._is_fenced(index, epoch)

    def is_fenced(self, sender: int) -> bool:
        """Whether a trunk datagram's sender was lost, and somebody else has its calls."""
        return self._is_fenced(sender >> 16, sender & 0xFFFF)

    def _is_fenced(self, index: int, epoch: int) -> bool:
        return bool(self._one_fenced_plus_1[index] == epoch + 1)

    def _keep_out_fenced(self, index: int) -> None:
        epoch = self.epoch(index)
        if epoch != NO_EPOCH and self._is_fenced(index, epoch):
            self._epochs_plus_1[index] = next_epoch(epoch) + 1

    def _fenced_now(self) -> npt.NDArray[np.bool_]:
        fenced, epochs = self._fenced_plus_1, self._epochs_plus_1
        now: npt.NDArray[np.bool_] = (epochs == fenced % _EPOCHS + 1) | (epochs == 0)
        now &= fenced != 0
        return now
