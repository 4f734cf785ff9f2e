"""The memory that workers share with their supervisor.

`WorkerMemory`: counters, heartbeat, what the worker sees, claims and flows; made once a worker slot
and mapped by every worker of that slot, so a respawned worker goes on with the flows and the
counters of the one before it.
`shared_nodes` and `shared_check_log`: the directory, and recent STUN checks; one for all.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

import numpy as np

from relay.shared import nodes
from relay.shared.check_log import CheckLog
from relay.shared.claims import ClaimMaps, Turns
from relay.shared.counters import COUNTER_ROOM, Counts
from relay.shared.flows import SLOT_BYTES, WAYS, FlowTable
from relay.shared.nodes import NodeTable
from relay.shared.telemetry import Telemetry

_PAGE = mmap.PAGESIZE
_TELEMETRY_BYTES = -(-Telemetry.SIZE_BYTES // _PAGE) * _PAGE
_CLAIMS_AT = _PAGE + _TELEMETRY_BYTES
_FLOWS_AT = _CLAIMS_AT + -(-ClaimMaps.SIZE_BYTES // _PAGE) * _PAGE
_CHECK_LOG_AT = -(-nodes.SIZE_BYTES // _PAGE) * _PAGE
SHARED_BYTES = _CHECK_LOG_AT + CheckLog.SIZE_BYTES  # what all workers have in common

# Two relays read each other's memory when this is the same for both. Raise the first number when
# the meaning of a column changes; the rest follows the offsets.
LAYOUT = f"2.{_FLOWS_AT}.{SLOT_BYTES}.{WAYS}"


class Table(NamedTuple):
    """A worker's memory as others are told of it: worth reading until `until_ms`, if that is set.

    Descriptor, flow capacity, and ms of the monotonic clock, which is the same for all processes.
    """

    fd: int
    capacity: int
    until_ms: int | None = None


def create(name: str, size_bytes: int) -> int:
    """A descriptor of new memory, all zero; pages that nothing touches cost nothing."""
    fd = os.memfd_create(name)
    os.ftruncate(fd, size_bytes)
    return fd


def shared_nodes(fd: int) -> NodeTable:
    """The directory in memory of `SHARED_BYTES` bytes."""
    return NodeTable(memoryview(mmap.mmap(fd, SHARED_BYTES)))


def shared_check_log(fd: int) -> CheckLog:
    """The log of STUN checks in memory of `SHARED_BYTES` bytes."""
    return CheckLog(memoryview(mmap.mmap(fd, SHARED_BYTES))[_CHECK_LOG_AT:])


class WorkerMemory:
    """One worker slot's shared memory: what the slot's worker writes, and others read."""

    def __init__(self, fd: int, flow_capacity: int) -> None:
        shared = mmap.mmap(fd, self.size_bytes(flow_capacity))
        words = np.frombuffer(shared, np.uint64, count=_PAGE // 8)
        self.counts: Counts = words[:COUNTER_ROOM]
        self._heartbeat_ms = words[COUNTER_ROOM : COUNTER_ROOM + 1]
        self.turns = Turns(words[COUNTER_ROOM + 1 : COUNTER_ROOM + 2].data)
        self.telemetry = Telemetry(memoryview(shared)[_PAGE:_CLAIMS_AT])
        self.claims = ClaimMaps(shared, _CLAIMS_AT)
        self.flows = FlowTable(memoryview(shared)[_FLOWS_AT:], flow_capacity)

    @staticmethod
    def size_bytes(flow_capacity: int) -> int:
        """Bytes that the memory of one worker slot takes."""
        return _FLOWS_AT + FlowTable.size_bytes(flow_capacity)

    def beat(self, now_ms: int) -> None:
        """The worker's loop came round at this monotonic time."""
        self._heartbeat_ms[0] = now_ms

    @property
    def beat_ms(self) -> int:
        """When the worker's loop came round last."""
        return int(self._heartbeat_ms[0])

    def silent_ms(self, now_ms: int) -> int:
        """How long the worker's loop has not come round."""
        return now_ms - self.beat_ms
