"""The memory that workers share with their supervisor.

`WorkerMemory`: counters, heartbeat and flows; made once a worker slot and mapped by every worker
of that slot, so a respawned worker goes on with the flows and the counters of the one before it.
`shared_nodes`: the directory; one for all.
"""

from __future__ import annotations

import mmap
import os

import numpy as np

from relay import nodes
from relay.counters import COUNTER_ROOM, Counts
from relay.flows import FlowTable
from relay.nodes import NodeTable

_PAGE = mmap.PAGESIZE


def create(name: str, size_bytes: int) -> int:
    """A descriptor of new memory, all zero; pages that nothing touches cost nothing."""
    fd = os.memfd_create(name)
    os.ftruncate(fd, size_bytes)
    return fd


def shared_nodes(fd: int) -> NodeTable:
    """The directory in memory of `nodes.SIZE_BYTES` bytes."""
    return NodeTable(memoryview(mmap.mmap(fd, nodes.SIZE_BYTES)))


class WorkerMemory:
    """One worker slot's shared memory: `counts`, `flows` and the heartbeat."""

    def __init__(self, fd: int, flow_capacity: int) -> None:
        shared = mmap.mmap(fd, self.size_bytes(flow_capacity))
        words = np.frombuffer(shared, np.uint64, count=_PAGE // 8)
        self.counts: Counts = words[:COUNTER_ROOM]
        self._heartbeat_ms = words[COUNTER_ROOM : COUNTER_ROOM + 1]
        self.flows = FlowTable(memoryview(shared)[_PAGE:], flow_capacity)

    @staticmethod
    def size_bytes(flow_capacity: int) -> int:
        """Bytes that the memory of one worker slot takes."""
        return _PAGE + FlowTable.size_bytes(flow_capacity)

    def beat(self, now_ms: int) -> None:
        """The worker's loop came round at this monotonic time."""
        self._heartbeat_ms[0] = now_ms

    def silent_ms(self, now_ms: int) -> int:
        """How long the worker's loop has not come round."""
        return now_ms - int(self._heartbeat_ms[0])
