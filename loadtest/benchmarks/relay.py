"""The relay's benchmarks, one file each. A new one is added to the tuple here."""

from loadtest.benchmarks import (
    relay_flood,
    relay_flows,
    relay_kill,
    relay_latency,
    relay_throughput,
)
from loadtest.relay_bench.benchmark import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    relay_throughput.BENCHMARK,
    relay_latency.BENCHMARK,
    relay_flows.BENCHMARK,
    relay_flood.BENCHMARK,
    relay_kill.BENCHMARK,
)
