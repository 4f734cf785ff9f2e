"""What a relay can be told, as TRUNKLINE_RELAY_* beside the fleet's variables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fleet.settings import Address, FleetSettings, NumericHost, Port, within

_Workers = Annotated[int, within("a number of workers", 1, 256)]
_Capacity = Annotated[int, within("a number of flows", 1, 4_000_000)]
_Seconds = Annotated[int, within("a number of seconds", 30, 3600)]
_Batch = Annotated[int, within("a batch size", 1, 1024)]
_Mtu = Annotated[int, within("an MTU", 576, 9000)]
_TrunkPort = Annotated[int, within("a port, or 0 for any", 0, 65535)]


class RelaySettings(FleetSettings):
    """Settings of one relay process."""

    relay_host: NumericHost = Field(
        "::", description="address clients' packets are received on; :: is IPv6 and IPv4"
    )
    relay_port: Port = Field(3478, description="UDP port clients' packets are received on")
    relay_workers: _Workers = Field(
        2, description="data-plane processes on that one port, each pinned to a core"
    )
    relay_trunk_host: NumericHost = Field(
        "127.0.0.1", description="address the relay speaks to transceivers from"
    )
    relay_trunk_port: _TrunkPort = Field(
        0, description="trunk port of the first worker, the next one's is one higher; 0: any"
    )
    relay_trunk_mtu: _Mtu = Field(
        1400, description="bytes of the largest trunk datagram; room for an overlay network's own"
    )
    relay_flow_capacity: _Capacity = Field(
        100_000, description="live client addresses a worker holds, about 80 bytes each"
    )
    relay_flow_idle_s: _Seconds = Field(
        60,
        description="a flow without packets is forgotten after this; at least 30, ICE consent's "
        "own limit (RFC 7675)",
    )
    relay_batch: _Batch = Field(128, description="packets taken from a socket in one system call")
    relay_admin: Address = Field(
        Address("127.0.0.1", 9101), description="gRPC: RelayAdmin, health, reflection"
    )
    relay_metrics: Address = Field(
        Address("127.0.0.1", 9102), description="HTTP: Prometheus metrics at /metrics"
    )
