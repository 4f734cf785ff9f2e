"""What one call used, as the record has it: the input of every cost. Pure values.

Who measures what: the transceiver its share of CPU time and the bytes (`Resources`), backends their
models (`UsageReport`), turns the time of answers, moves their silence. Relay, recorder and Redis
have no meter of one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """One UsageReport. `price` is set when the backend knew what it paid."""

    provider: str
    model: str
    amounts: Mapping[str, float]
    price: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The time of one answer, in ms after the caller's last sound; None: it is not in the record.

    `network_ms` is what the caller waits beside: a round trip and the jitter buffers.
    """

    out_ms: float
    ended_ms: float | None = None
    first_sound_ms: float | None = None
    network_ms: float | None = None


@dataclass(frozen=True, slots=True)
class CallUse:
    """One call. `groups` names it for reports: by day, key and prompt version."""

    call_id: str
    lasted_s: float = 0.0
    cpu_s: float = 0.0
    bytes_from_caller: int = 0
    bytes_to_caller: int = 0
    cross_region_bytes: int | None = None
    record_bytes: int = 0
    events: int = 0
    reports: tuple[Report, ...] = ()
    answers: tuple[Answer, ...] = ()
    move_gaps_ms: tuple[float, ...] = ()
    day: str = ""
    key: str = ""
    prompt: str = ""
