"""Which parts a stack has, decided from the variables."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from launcher.addresses import Binding, reachable
from launcher.backend_choice import BACKENDS, BackendChoice
from launcher.part import Part
from launcher.probes import grpc_serving, http_answers
from launcher.variables import address_in, of_part, public_address

_SHARED = ("CLUSTER", "TOKEN_KEYS", "REDIS_URL", "ADMIN_")
_FLEET = (*_SHARED, "TRUNK_KEYS")


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
    listen = address_in(variables, "TRUNKLINE_BACKEND_LISTEN")
    admin = address_in(variables, "TRUNKLINE_BACKEND_ADMIN")
    return Part(
        name=name,
        command=(*_module(choice.module), *choice.arguments),
        ready=grpc_serving(reachable(listen).host, listen.port),
        environment={**environment, **of_part(variables, "BACKEND_", "ADMIN_")},
        binds=(Binding.tcp(listen), Binding.tcp(admin)),
        address=str(listen),
        summary=f"{choice.summary}; admin {admin}",
    )


def relay_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str = "relay",
) -> Part:
    """Return a relay. Raises StartupError as `plan` does."""
    admin = address_in(variables, "TRUNKLINE_RELAY_ADMIN")
    metrics = address_in(variables, "TRUNKLINE_RELAY_METRICS")
    public = public_address(variables)
    workers = variables["TRUNKLINE_RELAY_WORKERS"]
    return Part(
        name=name,
        command=_module("relay"),
        ready=grpc_serving(reachable(admin).host, admin.port),
        environment={**environment, **of_part(variables, "RELAY_", *_FLEET)},
        after=after,
        binds=(
            Binding("udp", public.host, public.port),
            Binding.tcp(admin),
            Binding.tcp(metrics),
        ),
        address=f"udp {public}",
        summary=f"public edge, {workers} workers; admin {admin}",
    )


def transceiver_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str = "transceiver",
) -> Part:
    """Return a transceiver. Raises StartupError as `plan` does."""
    admin = address_in(variables, "TRUNKLINE_TRANSCEIVER_ADMIN")
    http = address_in(variables, "TRUNKLINE_TRANSCEIVER_HTTP")
    return Part(
        name=name,
        command=_module("transceiver"),
        ready=grpc_serving(reachable(admin).host, admin.port),
        environment={**environment, **of_part(variables, "TRANSCEIVER_", *_FLEET)},
        after=after,
        binds=(Binding.tcp(http), Binding.tcp(admin)),
        address=f"http {http}",
        summary=f"owns the calls, serves the console; admin {admin}",
    )


def records_part(
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    after: tuple[str, ...],
    name: str = "records",
) -> Part:
    """Return a recorder. Raises StartupError as `plan` does."""
    admin = address_in(variables, "TRUNKLINE_RECORDS_ADMIN")
    metrics = address_in(variables, "TRUNKLINE_RECORDS_METRICS")
    return Part(
        name=name,
        command=_module("records"),
        ready=grpc_serving(reachable(admin).host, admin.port),
        environment={**environment, **of_part(variables, "RECORDS_", *_SHARED)},
        after=after,
        binds=(Binding.tcp(admin), Binding.tcp(metrics)),
        address=str(admin),
        summary=f"stores the record of each call; metrics {metrics}",
    )


def records_api_part(
    variables: Mapping[str, str], environment: Mapping[str, str], after: str
) -> Part:
    """Return the API of the record, after the recorder, which makes the schema."""
    http = address_in(variables, "TRUNKLINE_RECORDS_API_HTTP")
    needed = ("RECORDS_API_", "RECORDS_STORE", "ADMIN_TOKENS")
    return Part(
        name="records-api",
        command=_module("records.api"),
        ready=http_answers(reachable(http).host, http.port),
        environment={**environment, **of_part(variables, *needed)},
        after=(after,),
        binds=(Binding.tcp(http),),
        address=f"http {http}",
        summary="shows the record of each call",
    )


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)
