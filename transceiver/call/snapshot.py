"""One call as an operator sees it at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CallSnapshot:
    """The fields of `Call` in admin.proto, by the same names."""

    call_id: str
    state: str
    started_unix_ms: int
    backend: str
    surface: str
    packets_received: int
    packets_sent: int
    packets_lost: int
    jitter_ms: float
    round_trip_ms: float
    queued_frames: int
    messages_received: int
    messages_sent: int
    client_network: str  # redacted to its prefix; empty while no address is known
