"""The directory as the packet path reads it: where each transceiver is, by node index.

Plain arrays over all 65,536 indexes (2.4 MB), so that a batch of packets is looked up at once.
They lie over shared memory: the supervisor writes, all workers read, nobody sends anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datagram.mmsg import NAME_WORDS, U64, name_row
from wire.token import MAX_NODE

NO_EPOCH = -1
_NODES = MAX_NODE + 1
_NAMES_BYTES = _NODES * NAME_WORDS * 8
SIZE_BYTES = _NAMES_BYTES + _NODES * 4


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
        self._epochs_plus_1: npt.NDArray[np.int32] = octets[_NAMES_BYTES:].view(np.int32)
        self._one_epoch_plus_1 = self._epochs_plus_1.data
        self._name_words = self.names.data.cast("B").cast("Q")

    def put(self, index: int, epoch: int, address: bytes) -> None:
        """A node appears, moves to another 18-byte address, or has a new owner (epoch)."""
        # In this order a reader sees the old node, none, or the new one; never half of each.
        self._epochs_plus_1[index] = 0
        self.names[index] = name_row(address)
        self._epochs_plus_1[index] = epoch + 1

    def adopt(self, other: NodeTable) -> None:
        """Take over what another relay's table has and this one does not. Before anybody reads."""
        news = (self._epochs_plus_1 == 0) & (other._epochs_plus_1 != 0)
        self.names[news] = other.names[news]
        self._epochs_plus_1[news] = other._epochs_plus_1[news]

    def remove(self, index: int) -> None:
        """A node is gone; its flows are dropped as packets come, and expire."""
        self._epochs_plus_1[index] = 0

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
        return self.epoch(sender >> 16) == sender & 0xFFFF
