"""Which parts a stack has, decided from the variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from launcher.addresses import Binding, join, reachable_host
from launcher.backend_choice import BACKENDS, BackendChoice
from launcher.part import Part
from launcher.probes import grpc_serving
from launcher.variables import address_in, of_part, port_in

_FLEET = ("CLUSTER", "TOKEN_KEYS", "TRUNK_KEYS", "REDIS_URL", "ADMIN_")


def plan(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    choice: BackendChoice = BACKENDS["echo"],
    after: tuple[str, ...] = (),
) -> tuple[Part, ...]:
    """Return backend, relay and transceiver; they start together, once the parts `after` are up.

    The transceiver also waits for a backend that is slow to start. `environment` is what every
    process gets beside its own settings. Raises StartupError for an address or a port that cannot
    be read.
    """
    backend = backend_part(variables, environment, choice)
    transceiver_after = (*after, backend.name) if choice.slow_start else after
    return (
        backend,
        relay_part(variables, environment, after),
        transceiver_part(variables, environment, transceiver_after),
    )


def backend_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    choice: BackendChoice,
    name: str = "backend",
) -> Part:
    """Return the chosen backend. Raises StartupError as `plan` does."""
    host, port = address_in(variables, "TRUNKLINE_BACKEND_LISTEN")
    admin_host, admin_port = address_in(variables, "TRUNKLINE_BACKEND_ADMIN")
    return Part(
        name=name,
        command=(*_module(choice.module), *choice.arguments),
        ready=grpc_serving(reachable_host(host), port),
        environment={**environment, **of_part(variables, "BACKEND_", "ADMIN_")},
        binds=(Binding("tcp", host, port), Binding("tcp", admin_host, admin_port)),
        address=join(host, port),
        summary=f"{choice.summary}; admin {join(admin_host, admin_port)}",
    )


def relay_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str = "relay",
) -> Part:
    """Return a relay. Raises StartupError as `plan` does."""
    host, port = address_in(variables, "TRUNKLINE_RELAY_ADMIN")
    metrics_host, metrics_port = address_in(variables, "TRUNKLINE_RELAY_METRICS")
    public_host = variables["TRUNKLINE_RELAY_HOST"]
    public_port = port_in(variables, "TRUNKLINE_RELAY_PORT")
    workers = variables["TRUNKLINE_RELAY_WORKERS"]
    return Part(
        name=name,
        command=_module("relay"),
        ready=grpc_serving(reachable_host(host), port),
        environment={**environment, **of_part(variables, "RELAY_", *_FLEET)},
        after=after,
        binds=(
            Binding("udp", public_host, public_port),
            Binding("tcp", host, port),
            Binding("tcp", metrics_host, metrics_port),
        ),
        address=f"udp {join(public_host, public_port)}",
        summary=f"public edge, {workers} workers; admin {join(host, port)}",
    )


def transceiver_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str = "transceiver",
) -> Part:
    """Return a transceiver. Raises StartupError as `plan` does."""
    host, port = address_in(variables, "TRUNKLINE_TRANSCEIVER_ADMIN")
    http_host, http_port = address_in(variables, "TRUNKLINE_TRANSCEIVER_HTTP")
    return Part(
        name=name,
        command=_module("transceiver"),
        ready=grpc_serving(reachable_host(host), port),
        environment={**environment, **of_part(variables, "TRANSCEIVER_", *_FLEET)},
        after=after,
        binds=(Binding("tcp", http_host, http_port), Binding("tcp", host, port)),
        address=f"http {join(http_host, http_port)}",
        summary=f"owns the calls, serves the console; admin {join(host, port)}",
    )


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)
