"""What prices are per. In a book they are as providers write them; here are the divisors to one."""

from __future__ import annotations

from decimal import Decimal

from trunkline.v1 import record_pb2 as pb

GIGABYTE = Decimal(10**9)
_PER = {
    "_tokens": (Decimal(10**6), "tokens"),
    "_characters": (Decimal(10**6), "characters"),
    "_seconds": (Decimal(60), "seconds"),
}
# Prices of the plumbing: per how many of which unit the book states them.
PLUMBING: dict[str, tuple[Decimal, str]] = {
    "core_hour": (Decimal(3600), "core-seconds"),
    "egress_gigabyte": (GIGABYTE, "bytes"),
    "ingress_gigabyte": (GIGABYTE, "bytes"),
    "cross_region_gigabyte": (GIGABYTE, "bytes"),
    "storage_gigabyte_month": (GIGABYTE, "byte-months"),
    "redis_call_hour": (Decimal(3600), "call-seconds"),
}
# Figures that an operator measures once, for what the record has no meter of a call.
MEASURED = ("relay_core_ms_per_call_minute", "recorder_core_ms_per_event", "storage_months")


def kind_words() -> tuple[str, ...]:
    """The kinds of usage, by the words of record.proto."""
    names = [one.name for one in pb.UsageKind.DESCRIPTOR.values if one.number]
    return tuple(name.removeprefix("USAGE_KIND_").lower() for name in names)


def per(kind: str) -> Decimal:
    """A million tokens, a million characters, a minute."""
    return next(count for end, (count, _) in _PER.items() if kind.endswith(end))


def unit(kind: str) -> str:
    """The word for one amount of a kind of usage."""
    return next((word for end, (_, word) in _PER.items() if kind.endswith(end)), "units")
