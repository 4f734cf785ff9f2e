"""The settings of a relay: TRUNKLINE_RELAY_* beside the variables of every process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from fleet.settings import Address, FleetSettings, NumericHost, Port, within
from relay.shared.rates import MAX_RATE

MAX_WORKERS = 256
MAX_CAPACITY = 4_000_000

_Workers = Annotated[int, within("a number of workers", 1, MAX_WORKERS)]
_Capacity = Annotated[int, within("a number of flows", 1, MAX_CAPACITY)]
_Seconds = Annotated[int, within("a number of seconds", 30, 3600)]
_Batch = Annotated[int, within("a batch size", 1, 1024)]
_Rate = Annotated[int, within("packets per second", 0, MAX_RATE)]
_Questions = Annotated[int, within("a number of addresses", 1, 100_000)]
_Parking = Annotated[int, within("a number of packets", 1, 1_000_000)]
_TrunkPort = Annotated[int, within("a port, or 0 for any", 0, 65535)]

# sun_path holds 108 bytes; the name it is made under before it is renamed is longer.
_MAX_PATH_BYTES = 90


def _socket_path(path: Path | None) -> Path | None:
    if path and not (path.is_absolute() and len(os.fsencode(path)) <= _MAX_PATH_BYTES):
        raise ValueError(f"an absolute path of at most {_MAX_PATH_BYTES} bytes")
    return path


_SocketPath = Annotated[Path | None, AfterValidator(_socket_path)]


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
    relay_flow_capacity: _Capacity = Field(
        100_000, description="live client addresses a worker holds, about 80 bytes each"
    )
    relay_flow_idle_s: _Seconds = Field(
        60,
        description="a flow without packets is forgotten after this; at least 30, ICE consent's "
        "own limit (RFC 7675)",
    )
    relay_batch_packets: _Batch = Field(
        512, description="packets taken from a socket in one system call"
    )
    relay_stranger_packets_per_s: _Rate = Field(
        2000,
        description="packets per second that a worker looks at from addresses without a flow, for "
        "each source prefix (/24, /48); twice that at once; 0: no limit",
    )
    relay_checks_per_s: _Rate = Field(
        50,
        description="STUN requests per second that a worker looks at from one address with a flow; "
        "twice that at once; 0: no limit",
    )
    relay_packets_per_s: _Rate = Field(
        0,
        description="packets per second of any kind that a worker takes from one source prefix, "
        "behind which many callers may be (carrier NAT); 0: no limit",
    )
    relay_trunk_source_check: bool = Field(
        True,
        description="take trunk datagrams only from the address the directory gives their sender; "
        "false where the network between rewrites source addresses",
    )
    relay_flow_cache: bool = Field(
        True,
        description="keep a copy of the flows in Redis, so that a relay that replaces this one "
        "finds them; false: they come back with the callers' next STUN requests, 2.5 s in Chrome",
    )
    relay_questions_per_s: _Questions = Field(
        2000,
        description="unknown addresses per second that a worker has Redis asked about; five times "
        "that at once, for the callers of a relay that was replaced",
    )
    relay_parking_packets: _Parking = Field(
        8192,
        description="packets a worker keeps, for 0.3 s at most, while their address is asked about",
    )
    relay_handover: _SocketPath = Field(
        None,
        description="path of a unix socket over which this relay takes the sockets of one that "
        "runs, and later gives them to its successor: an upgrade without a lost packet",
        json_schema_extra={"default": "off"},
    )
    relay_admin: Address = Field(
        Address("127.0.0.1", 9101), description="gRPC: RelayAdmin, health, reflection"
    )
    relay_metrics: Address = Field(
        Address("127.0.0.1", 9102), description="HTTP: Prometheus metrics at /metrics"
    )
