"""The fleet's processes as parts with settings of their own: a shape in, parts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from launcher.addresses import LOOPBACK, free_ports, free_run
from launcher.backend_choice import BackendChoice
from launcher.part import Part
from launcher.plan import backend_part, relay_part, transceiver_part
from launcher.variables import Ports, fill
from loadtest.stand.redis import PORTS as REDIS_PORTS
from loadtest.stand.redis import RedisParts
from loadtest.stand.shape import Shape
from trunkline.process.address import Address

TALKER = "talker-1"
PORTS_EACH = len(Ports.__dataclass_fields__)


@dataclass(frozen=True)
class Plan:
    """Parts to run, and the settings of each by its name."""

    parts: tuple[Part, ...]
    variables: Mapping[str, Mapping[str, str]]


def take_ports(shape: Shape) -> tuple[list[int], list[Ports]]:
    """Free ports: for Redis, and for each number a process may have. All in one go, none twice."""
    most = max(shape.relays, shape.transceivers, shape.backends)
    most = most + shape.talker  # the last one's backend port is the talker's
    ports = free_ports(REDIS_PORTS + most * PORTS_EACH)
    starts = range(REDIS_PORTS, len(ports), PORTS_EACH)
    return ports[:REDIS_PORTS], [Ports(*ports[start : start + PORTS_EACH]) for start in starts]


def plan_fleet(
    shape: Shape, redis: RedisParts, ports: Sequence[Ports], environment: Mapping[str, str]
) -> Plan:
    """Return every part. Keys are shared, ports are each one's own.

    Transceivers name the relays in different order, so that callers, who begin with the first,
    spread over all of them. Raises StartupError for a setting that cannot be read.
    """
    common = _common(shape, redis, ports)
    parts: list[Part] = list(redis.parts)
    settings: dict[str, Mapping[str, str]] = {}
    for kind, count in _counts(shape):
        for number in range(count):
            name = f"{kind}-{number + 1}"
            settings[name] = _settings(shape, common, ports[number], number, ports)
            parts.append(_part(kind, shape, settings[name], environment, redis.ready, name))
    if shape.talker:
        settings[TALKER] = fill(common, ports[-1], loopback_only=True)
        parts.append(talker_part(settings[TALKER], environment))
    return Plan(tuple(parts), settings)


def talker_part(variables: Mapping[str, str], environment: Mapping[str, str]) -> Part:
    """The backend that answers. Raises StartupError as other parts do."""
    choice = BackendChoice("loadtest.peers.talker", "a backend that answers")
    return backend_part(variables, environment, choice, TALKER)


def _counts(shape: Shape) -> tuple[tuple[str, int], ...]:
    return (
        ("backend", shape.backends),
        ("relay", shape.relays),
        ("transceiver", shape.transceivers),
    )


def _common(shape: Shape, redis: RedisParts, ports: Sequence[Ports]) -> dict[str, str]:
    """What all have alike: keys, Redis, backends, log, and what the shape says."""
    made = fill({}, ports[0], loopback_only=True)
    alike = ("TRUNKLINE_TOKEN_KEYS", "TRUNKLINE_TRUNK_KEYS", "TRUNKLINE_TRANSCEIVER_API_KEYS")
    backends = [
        f"backend-{number + 1}={Address(LOOPBACK, ports[number].backend)}"
        for number in range(shape.backends)
    ]
    if shape.talker:
        backends.append(f"talker={Address(LOOPBACK, ports[-1].backend)}*0")
    if shape.guest_backend:
        backends.append(f"{shape.guest_backend}*0")
    return {
        **{name: made[name] for name in alike},
        "TRUNKLINE_REDIS_URL": redis.url,
        "TRUNKLINE_LOG_LEVEL": "warning",
        "TRUNKLINE_TRANSCEIVER_CONSOLE": "false",
        "TRUNKLINE_RELAY_WORKERS": str(shape.relay_workers),
        "TRUNKLINE_TRANSCEIVER_PROCESSES": str(shape.transceiver_processes),
        **({"TRUNKLINE_TRANSCEIVER_BACKENDS": ",".join(backends)} if backends else {}),
        **shape.variables,
    }


def _settings(
    shape: Shape, common: Mapping[str, str], own: Ports, number: int, ports: Sequence[Ports]
) -> dict[str, str]:
    addresses = [str(Address(LOOPBACK, ports[index].relay)) for index in range(shape.relays)]
    first = number % len(addresses)
    relays = ",".join([*addresses[first:], *addresses[:first]])
    if shape.transceiver_processes > 1:
        own = replace(own, transceiver_admin=free_run(shape.transceiver_processes))
    return fill({"TRUNKLINE_TRANSCEIVER_RELAYS": relays, **common}, own, loopback_only=True)


def _part(
    kind: str,
    shape: Shape,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str,
) -> Part:
    if kind == "backend":
        choice = BackendChoice(shape.backend, "what the calls talk to")
        return backend_part(variables, environment, choice, name)
    make = relay_part if kind == "relay" else transceiver_part
    return make(variables, environment, after, name)
