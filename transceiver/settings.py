# ruff: noqa: RUF001  (ranges are written with an en dash, as in the documentation)
"""What a transceiver can be told (see `fleet.settings` for how)."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from fleet.limits.rules import LimitRules
from fleet.page_policy import PageRules
from fleet.settings import AddressList, AnyCase, ApiKeyList, FleetSettings, within
from transceiver.call.call_id import MAX_PROCESSES
from transceiver.link.backend_list import BackendAddress, BackendList
from trunkline.process.address import Address, shown

MAX_ORIGINS = 32
LARGEST_PORT = 65535

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#,]+", re.IGNORECASE)


def _origins(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    origins = tuple(item.strip() for item in items)
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{shown(origin)} is not * or an origin (https://host:port)")
    if not 1 <= len(origins) <= MAX_ORIGINS:
        raise ValueError(f"1–{MAX_ORIGINS} origins, separated by commas")
    return origins


def _rules(value: Any) -> LimitRules:
    return value if isinstance(value, LimitRules) else LimitRules.parse(str(value))


def _pages(value: Any) -> PageRules:
    return value if isinstance(value, PageRules) else PageRules.parse(str(value))


Pages = Annotated[PageRules, PlainValidator(_pages)]
Origins = Annotated[tuple[str, ...], PlainValidator(_origins)]
Rules = Annotated[LimitRules, PlainValidator(_rules)]


class TransceiverSettings(FleetSettings):
    """Every variable of a transceiver process."""

    transceiver_http: Address = Field(
        Address("127.0.0.1", 8080), description="where callers POST their offers"
    )
    transceiver_trunk: Address = Field(
        Address("127.0.0.1", 0),
        description="the UDP socket relays talk to; port 0 takes any free one",
    )
    transceiver_trunk_advertise: Address | None = Field(
        None,
        description="the address relays send to, when it is not the one bound; port 0 stands for "
        "the port bound",
        validate_default=True,
        json_schema_extra={"default": "the address of TRUNKLINE_TRANSCEIVER_TRUNK as bound"},
    )
    transceiver_admin: Address = Field(
        Address("127.0.0.1", 9201), description="gRPC: admin API, health and reflection"
    )
    transceiver_processes: Annotated[int, within("a number of processes", 1, MAX_PROCESSES)] = (
        Field(
            1,
            description="how many processes carry calls, one for each core at best; they share the "
            "HTTP port, and trunk and admin ports follow on from the first unless they are 0",
        )
    )
    transceiver_relays: AddressList = Field(
        description="relay addresses that answers name, most preferred first, "
        "203.0.113.10:3478,[2001:db8::1]:3478"
    )
    transceiver_api_keys: ApiKeyList = Field(
        description="bearer keys that may place calls, separated by commas: KEY, or TENANT:KEY for "
        "keys that share their calls; a key without a tenant is one by itself"
    )
    transceiver_pages: Pages = Field(
        PageRules(),
        description="what web pages may set of a session, by tenant, as in acme: default prompt; "
        "*: default (the words are in docs/realtime.md; everything lifts the rule)",
        json_schema_extra={"default": "the default words for all"},
    )
    transceiver_backend: Address = Field(
        Address("127.0.0.1", 9301), description="the model backend, when there is only one"
    )
    transceiver_backends: BackendList | None = Field(
        None,
        description="several model backends instead, NAME=host:port*WEIGHT: calls are spread by "
        "weight, and a session may name its backend (weight 0: only then)",
        json_schema_extra={"default": "the one of TRUNKLINE_TRANSCEIVER_BACKEND"},
    )
    transceiver_backend_restore_s: Annotated[int, within("a number of seconds", 0, 600)] = Field(
        10,
        description="how long a live call whose backend is lost waits for the same or another one "
        "to go on with it; then it ends, with a message to the caller",
    )
    transceiver_max_calls: Annotated[int, within("a number of calls", 1, 100_000)] = Field(
        1000,
        description="live calls of this process at most; more get 503, as do those beyond what it "
        "learns that it can hold, from the lateness of its loop and its CPU",
    )
    transceiver_learn_capacity: bool = Field(
        default=True,
        description="learn that; false leaves TRUNKLINE_TRANSCEIVER_MAX_CALLS alone to bound it",
    )
    transceiver_limits: Rules = Field(
        LimitRules(),
        description="what keys and models may use of the fleet, as in key/*: calls=100 rate=10 "
        "tokens=500000; model/voice: calls=40 (at once, new ones a second, tokens an hour; a model "
        "is a backend by its name, or what sessions call one); more gets 429",
        json_schema_extra={"default": "no limit"},
    )
    transceiver_drain_s: Annotated[int, within("a number of seconds", 0, 86_400)] = Field(
        30,
        description="how long live calls may go on after SIGTERM; then they end, with a message "
        "to the caller. The process exits a few seconds later at most",
    )
    transceiver_record: Annotated[Literal["off", "metadata", "redacted", "whole"], AnyCase] = Field(
        "off",
        description="what is recorded of every call, for `python -m records`: off, metadata "
        "(nothing of what was said), redacted (without cards, e-mail addresses, numbers and names, "
        "as far as patterns find them) or whole",
    )
    transceiver_record_hook: str = Field(
        "",
        description="a function MODULE:NAME that takes a text and gives what of it may be "
        "recorded; it comes after the redaction",
        json_schema_extra={"default": "none"},
    )
    transceiver_region: Annotated[str, Field(max_length=100)] = Field(
        "",
        description="where this process is, as records are to say",
        json_schema_extra={"default": "nothing"},
    )
    transceiver_takeover: bool = Field(
        default=True,
        description="keep live calls in Redis, sealed, and go on with those of transceivers that "
        "are lost; false lets calls end with their process",
    )
    transceiver_cors_origins: Origins = Field(
        ("*",), description="web pages that may call the API: origins, or * for all"
    )
    transceiver_console: bool = Field(
        False,
        description="serve the console page at /; it holds the first API key, so whoever reaches "
        "it can place calls: for development only",
    )

    @property
    def backends(self) -> tuple[BackendAddress, ...]:
        """All backends, whichever variable names them."""
        return self.transceiver_backends or (BackendAddress("default", self.transceiver_backend),)

    @field_validator("transceiver_processes")
    @classmethod
    def _check_ports(cls, count: int, info: ValidationInfo) -> int:
        for name in ("transceiver_trunk", "transceiver_trunk_advertise", "transceiver_admin"):
            address = info.data.get(name)
            if address is not None and address.port + count - 1 > LARGEST_PORT:
                raise ValueError(f"{count} processes have no room above port {address.port}")
        return count

    @field_validator("transceiver_trunk")
    @classmethod
    def _check_trunk(cls, trunk: Address) -> Address:
        if not trunk.numeric:
            raise ValueError(f"{trunk} is not an IP address with a port")
        return trunk

    @field_validator("transceiver_trunk_advertise")
    @classmethod
    def _check_advertise(cls, chosen: Address | None, info: ValidationInfo) -> Address | None:
        address = chosen or info.data.get("transceiver_trunk")
        if address is None:  # TRUNKLINE_TRANSCEIVER_TRUNK is bad, and said so
            return chosen
        if not address.numeric or ipaddress.ip_address(address.host).is_unspecified:
            raise ValueError(f"relays cannot send to {address}; give an IP address of this machine")
        return chosen
