# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""Settings come from `TRUNKLINE_*` environment variables; each process derives its class from here.

    ProcessSettings       how to log
    └── AdminSettings     who may use the admin port      backends
        └── SharedSettings    cluster, token keys, Redis  recorder
            └── FleetSettings trunk                       relay, transceiver

A field `relay_port` is the variable TRUNKLINE_RELAY_PORT. Its description is printed by `--help`
and, for a required one, in the error when it is missing; so it is written for an operator. An
empty variable counts as unset, since that is how charts and compose files write "no value".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fleet import unknown_variables
from fleet.fields import (
    AddressList,
    AdminTokens,
    AnyCase,
    ApiKeyList,
    Cluster,
    Keys,
    NumericHost,
    Port,
    RedisUrl,
    within,
)
from fleet.usage import complaints, help_text, variable
from trunkline.process.address import Address
from wire.trunk import DEFAULT_MTU, LARGEST_MTU, SMALLEST_MTU

__all__ = [
    "Address",
    "AddressList",
    "AdminSettings",
    "AnyCase",
    "ApiKeyList",
    "Cluster",
    "FleetSettings",
    "Keys",
    "LogFormat",
    "LogLevel",
    "NumericHost",
    "Port",
    "ProcessSettings",
    "RedisUrl",
    "SharedSettings",
    "load",
    "within",
]

Mtu = Annotated[int, within("a datagram size in bytes", SMALLEST_MTU, LARGEST_MTU)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], AnyCase]
LogFormat = Annotated[Literal["json", "console"], AnyCase]


def _log_format() -> Literal["json", "console"]:
    return "console" if sys.stderr.isatty() else "json"


class ProcessSettings(BaseSettings):
    """What every process can be told."""

    model_config = SettingsConfigDict(
        env_prefix="TRUNKLINE_",
        env_ignore_empty=True,
        # Lists and key rings have a notation of their own; without this they would have to be JSON.
        enable_decoding=False,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        # A traceback must not print a key that was mistyped.
        hide_input_in_errors=True,
    )

    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field(
        default_factory=_log_format,
        description="json (one object a line) or console (for reading)",
        json_schema_extra={"default": "console on a terminal, json otherwise"},
    )

    @classmethod
    def known(cls) -> frozenset[str]:
        """The variables that may be set for this process."""
        return frozenset(variable(cls, name) for name in cls.model_fields)


class AdminSettings(ProcessSettings):
    """How a process's admin port is protected (`fleet.admin`)."""

    admin_tokens: AdminTokens = Field(
        (),
        description="who may use the admin port, ROLE:NAME:TOKEN separated by commas, role viewer "
        "or operator; without it (and without client certificates) only this machine may",
        json_schema_extra={"default": "none"},
    )
    admin_tls_cert: Path | None = Field(
        None,
        description="PEM certificate chain of the admin port; read again when it is renewed",
        json_schema_extra={"default": "no TLS"},
    )
    admin_tls_key: Path | None = Field(
        None,
        description="its private key",
        validate_default=True,
        json_schema_extra={"default": "no TLS"},
    )
    admin_health: Address | None = Field(
        None,
        description="one more port that serves gRPC health alone, without TLS, for probes that "
        "cannot do it (kubelets)",
        json_schema_extra={"default": "none"},
    )
    admin_client_ca: Path | None = Field(
        None,
        description="PEM of the CA whose certificates clients must have (mTLS): CN is the "
        "operator's name, O=viewer or O=operator the role",
        json_schema_extra={"default": "no client certificates"},
    )

    @field_validator("admin_tls_key")
    @classmethod
    def _check_key(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if bool(key) != bool(info.data.get("admin_tls_cert")):
            raise ValueError("comes together with TRUNKLINE_ADMIN_TLS_CERT, or not at all")
        return key

    @field_validator("admin_client_ca")
    @classmethod
    def _check_client_ca(cls, authority: Path | None, info: ValidationInfo) -> Path | None:
        if authority and not info.data.get("admin_tls_cert"):
            raise ValueError("needs TRUNKLINE_ADMIN_TLS_CERT")
        return authority


class SharedSettings(AdminSettings):
    """What processes have in common that meet in Redis."""

    cluster: Cluster = Field(0, description="number of this cluster, 0–4095; part of every token")
    token_keys: Keys = Field(
        description="keys that sign route tokens, 1:HEX64,2:HEX64; the first is current"
    )
    redis_url: RedisUrl = Field(
        description="the Redis that all processes of a cluster use, redis://host:port/0"
    )


class FleetSettings(SharedSettings):
    """What relay and transceiver have in common."""

    trunk_keys: Keys = Field(
        description="keys that sign trunk datagrams, 1:HEX64,2:HEX64; the first is current"
    )
    trunk_mtu: Mtu = Field(
        DEFAULT_MTU,
        description="bytes of the largest trunk datagram (UDP payload) that a relay or a "
        "transceiver sends; room for an overlay network's own",
    )


Settings = TypeVar("Settings", bound=ProcessSettings)


def load(
    settings_class: type[Settings], program: str, argv: Sequence[str] | None = None
) -> Settings:
    """Settings from the environment; `argv` (the process's own by default) may only ask for help.

    Raises SystemExit: 0 after `--help` on stdout, 2 after one line per bad variable on stderr. One
    that nobody reads is bad too.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"--help", "-h"} & set(arguments):
        sys.stdout.write(help_text(settings_class, program))
        raise SystemExit(0)
    if arguments:
        _refuse([f"{program}: takes no arguments, only environment variables; see --help"])
    lines = unknown_variables.complaints(os.environ, settings_class.known())
    try:
        settings = settings_class()
    except ValidationError as error:
        _refuse([*complaints(settings_class, error), *lines])
    if lines:
        _refuse(lines)
    return settings


def _refuse(lines: Sequence[str]) -> NoReturn:
    sys.stderr.write("\n".join(lines) + "\n")
    raise SystemExit(2)
