"""From calls and regions to what each region needs, also with one port a call. Pure.

Regions are sized so that the others carry the calls of one that is lost. Relays and transceivers
get one more than the load needs, and never less than two, so that one of them may be lost too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from loadtest.plan.figures import Figures

HOURS_A_MONTH = 730
SPARE = 1
FEWEST = 2
FEWEST_RELAYS = 3
"""Of a region: one for each zone."""
REDIS_PODS = 6
"""A master, two replicas, three sentinels."""


@dataclass(frozen=True)
class Demand:
    """What is asked for. Raises ValueError for none."""

    calls: int
    regions: int

    def __post_init__(self) -> None:
        """Check that there is something to plan."""
        if self.calls < 1 or self.regions < 1:
            raise ValueError("a plan needs at least one call and one region")

    @property
    def calls_per_region(self) -> int:
        """Of each region when one of several is lost; of the only one, all."""
        return math.ceil(self.calls / max(1, self.regions - 1))


@dataclass(frozen=True)
class Needs:
    """Of one region, or of all. Prices are in the currency of the figures, a month."""

    calls: int
    media_pods: int
    relay_cores: int
    transceiver_cores: int
    other_cores: int
    memory_gib: float
    public_udp_ports: int
    public_addresses: int
    redis_commands_s: float
    egress_gbit_s: float
    compute_month: float
    addresses_month: float
    egress_month: float

    @property
    def month(self) -> float:
        """All of it."""
        return self.compute_month + self.addresses_month + self.egress_month

    @property
    def cores(self) -> int:
        """All of them."""
        return self.relay_cores + self.transceiver_cores + self.other_cores

    def times(self, regions: int) -> Needs:
        """So many regions like this one."""
        return Needs(**{name: value * regions for name, value in asdict(self).items()})


def trunkline(demand: Demand, figures: Figures) -> Needs:
    """One region of Trunkline: relays behind one address and port, a process a core behind them."""
    calls, busy = demand.calls_per_region, figures.busy.value
    relays = relay_cores(calls, figures)
    transceivers = math.ceil(calls * _ms(figures.transceiver_cpu_ms_per_call_s.value) / busy)
    transceivers = max(FEWEST, transceivers + SPARE)
    commands = redis_commands_s(calls, relays + transceivers, figures)
    redis = math.ceil(commands / figures.redis_commands_per_core_s.value / busy) * 3
    return _priced(
        figures,
        calls=calls,
        media_pods=relays + transceivers,
        relay_cores=relays,
        transceiver_cores=transceivers,
        other_cores=redis,
        ports=1,
        addresses=1,
        redis_commands_s=commands,
        extra_gib=relays * calls * figures.relay_bytes_per_flow.value / 2**30,
        egress_share=_live_share(demand),
    )


def port_per_call(demand: Demand, figures: Figures) -> Needs:
    """The same region with a stock media server on public hosts: a port a call, no relay.

    A host holds what its cores carry or its open ports allow, whichever is less, and has an
    address of its own; a call is bound to its host.
    """
    calls, cores = demand.calls_per_region, round(figures.node_cores.value)
    carried = cores * figures.stock_calls_per_core.value * figures.busy.value
    allowed = figures.node_ports.value / figures.stock_ports_per_call.value
    hosts = max(FEWEST, math.ceil(calls / min(carried, allowed)) + SPARE)
    return _priced(
        figures,
        calls=calls,
        media_pods=hosts,
        relay_cores=0,
        transceiver_cores=hosts * cores,
        other_cores=0,
        ports=math.ceil(calls * figures.stock_ports_per_call.value),
        addresses=hosts,
        redis_commands_s=0.0,
        extra_gib=0.0,
        egress_share=_live_share(demand),
    )


def relay_cores(calls: int, figures: Figures) -> int:
    """Worker cores for both directions, one more, and at least one for each zone."""
    packets = calls * figures.packets_per_call_s.value
    used = packets / figures.relay_up_packets_per_core_s.value
    used += packets / figures.relay_down_packets_per_core_s.value
    return max(FEWEST_RELAYS, math.ceil(used / figures.busy.value) + SPARE)


def redis_commands_s(calls: int, processes: int, figures: Figures) -> float:
    """Commands a second: flows that are refreshed, calls that come, processes that hold leases."""
    flows = calls * figures.redis_flow_writes_per_call_s.value
    arrivals = calls / figures.call_s.value * figures.redis_commands_per_new_call.value
    return round(flows + arrivals + processes * figures.redis_commands_per_process_s.value, 1)


def _live_share(demand: Demand) -> float:
    """What a region carries while all are there: egress is paid for calls, not for readiness."""
    return demand.calls / demand.regions / demand.calls_per_region


def _priced(
    figures: Figures,
    *,
    calls: int,
    media_pods: int,
    relay_cores: int,
    transceiver_cores: int,
    other_cores: int,
    ports: int,
    addresses: int,
    redis_commands_s: float,
    extra_gib: float,
    egress_share: float,
) -> Needs:
    memory_gib = calls * figures.transceiver_mib_per_call.value / 1024 + extra_gib + media_pods / 8
    bits_s = calls * figures.packets_per_call_s.value * figures.packet_bytes.value * 8
    cores = relay_cores + transceiver_cores + other_cores
    hourly = cores * figures.price_core_hour.value + memory_gib * figures.price_gib_hour.value
    egress_gib = bits_s * egress_share / 8 * 3600 * HOURS_A_MONTH / 2**30
    return Needs(
        calls=calls,
        media_pods=media_pods,
        relay_cores=relay_cores,
        transceiver_cores=transceiver_cores,
        other_cores=other_cores,
        memory_gib=round(memory_gib, 1),
        public_udp_ports=ports,
        public_addresses=addresses,
        redis_commands_s=redis_commands_s,
        egress_gbit_s=round(bits_s / 1e9, 2),
        compute_month=round(hourly * HOURS_A_MONTH, 2),
        addresses_month=round(addresses * figures.price_public_ip_hour.value * HOURS_A_MONTH, 2),
        egress_month=round(egress_gib * figures.price_egress_gib.value, 2),
    )


def _ms(milliseconds: float) -> float:
    return milliseconds / 1000
