"""What a worker shows: latency histogram, kernel drops, gains, the settings of its orders."""

from __future__ import annotations

import os
import socket

import numpy as np
import pytest

from relay.shared.counters import COUNTER_ROOM, Counter
from relay.shared.latency import BUCKETS, Latency
from relay.shared.memory import WorkerMemory, create
from relay.shared.orders import Orders, read_orders
from relay.shared.rates import Rates
from relay.shared.telemetry import Telemetry
from relay.shared.voice import VoiceHealth, WatchOrder
from relay.supervisor.gains import Gains
from relay.worker.kernel_drops import KernelDrops
from tests.relay.kit import client


def histogram() -> Latency:
    return Latency(memoryview(bytearray(8 * Latency.WORDS)).cast("Q"))


@pytest.mark.parametrize(
    ("elapsed_ns", "bucket"),
    [(0, 0), (999, 0), (1000, 1), (1999, 1), (2000, 2), (63_999, 6), (64_000, 7), (10**12, 23)],
)
def test_a_sample_counts_below_its_power_of_two(elapsed_ns: int, bucket: int) -> None:
    """Bucket b holds what took less than 2^b µs and not less than the half of it."""
    latency = histogram()
    latency.add(elapsed_ns)
    assert latency.counts() == [int(index == bucket) for index in range(BUCKETS)]


def test_prometheus_sees_cumulative_buckets() -> None:
    """Bounds rise, counts never fall, and the last bound is +Inf with every sample."""
    latency = histogram()
    for us in (3, 3, 70, 10**9):
        latency.add(us * 1000)
    buckets = list(latency.cumulative())
    assert buckets[0] == ("0.000001", 0)
    assert buckets[2] == ("0.000004", 2)
    assert buckets[7] == ("0.000128", 3)
    assert buckets[-1] == ("+Inf", 4)
    assert latency.sum_s == pytest.approx(1000.000076)


def test_the_columns_of_a_sight_do_not_overlap() -> None:
    """What one writes the others do not see, and a second view of the buffer sees all of it."""
    buffer = memoryview(bytearray(Telemetry.SIZE_BYTES))
    telemetry = Telemetry(buffer)
    health = VoiceHealth(7, 1, 2, 3, 4, 5, 6)
    telemetry.carried_out(99)
    telemetry.up.add(1_000_000)
    telemetry.voice.write(63, health)
    again = Telemetry(buffer)
    assert again.order == 99
    assert sum(again.up.counts()) == 1
    assert sum(again.down.counts()) == 0
    assert again.voice.read(63) == health
    assert again.voice.read(0).watch == 0


def test_sight_and_flows_share_a_workers_memory() -> None:
    """A worker and its supervisor map the same telemetry, and it is no part of the flow table."""
    fd = create("test", WorkerMemory.size_bytes(100))
    mine, theirs = WorkerMemory(fd, 100), WorkerMemory(fd, 100)
    os.close(fd)
    for index in range(BUCKETS):
        mine.telemetry.down.add(1000 << index)
    assert sum(theirs.telemetry.down.counts()) == BUCKETS
    assert len(theirs.flows) == 0
    assert not theirs.counts.any()


def test_what_the_kernel_drops_is_counted() -> None:
    """A full queue shows in the counter; reading again adds nothing; a successor goes on."""
    counts = np.zeros(COUNTER_ROOM, np.uint64)
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as slow,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.bind(("::1", 0))
        drops = KernelDrops(slow.fileno(), counts, Counter.UP_QUEUE_OVERFLOW)
        drops.read()
        assert not counts.any()
        for _ in range(100):
            sender.sendto(bytes(1000), slow.getsockname())
        drops.read()
        lost = int(counts[Counter.UP_QUEUE_OVERFLOW])
        assert 50 < lost <= 100
        drops.close()
        successor = KernelDrops(slow.fileno(), counts, Counter.UP_QUEUE_OVERFLOW)
        successor.read()
        assert counts[Counter.UP_QUEUE_OVERFLOW] == lost
        successor.close()


def test_gains_are_what_came_since_the_last_look() -> None:
    """Sums over the workers; the first look has everything, one that stood still is left out."""
    gains = Gains()
    assert gains.since_last([{"a": 1, "b": 2}, {"a": 3, "b": 0}], 1000) == (0, {"a": 4, "b": 2})
    assert gains.since_last([{"a": 2, "b": 2}, {"a": 3, "b": 0}], 1250) == (250, {"a": 1})
    assert gains.since_last([{"a": 2, "b": 2}, {"a": 3, "b": 0}], 1500) == (250, {})


def test_orders_survive_the_channel() -> None:
    """What is written as a message is read back; other messages are none; keys print nowhere."""
    orders = Orders(
        7,
        token_keys="1:" + "ab" * 32,
        trunk_keys="2:" + "cd" * 32,
        rates=Rates(1, 2, 3),
        checks_trunk_source=False,
        watches=(WatchOrder(5, 6, client(1), 12345),),
    )
    assert read_orders(orders.message()) == orders
    assert read_orders({"something": "else"}) is None
    assert "abab" not in repr(orders)
    assert "cdcd" not in repr(orders)
