"""What makes a process a worker: the first message over its control channel."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.shared.control import Message


@dataclass(frozen=True)
class Assignment:
    """What makes a process worker number `worker`. Travels as JSON over the control channel."""

    worker: int
    cpu: int
    flow_capacity: int
    flow_idle_s: float
    batch: int
    mtu: int
    cluster: int
    parking_packets: int
    questions_per_s: int
    token_keys: str = field(repr=False)  # as wire.keys.KeyRing.parse reads them
    trunk_keys: str = field(repr=False)
    # With it and not after it: the first packets may be of flows that only a sibling knows.
    siblings: Message
