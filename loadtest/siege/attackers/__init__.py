"""The attackers, by name; each is a coroutine that goes on until it is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from loadtest.siege.attackers import backend, callers, http, machine, packets, pages, redis
from loadtest.siege.ground import Ground

Go = Callable[[Ground], Coroutine[Any, Any, None]]


class Attack(NamedTuple):
    """An attacker, and how much a second it must get done, or it is too weak to prove anything.

    That is about half of what it does on two cores that are its and the stand's alone.
    """

    go: Go
    least_per_s: float


ATTACKS: dict[str, Attack] = {
    "garbage": Attack(packets.garbage, 2000),
    "forged checks": Attack(packets.forged_checks, 2000),
    "replayed checks": Attack(packets.replayed_checks, 2000),
    "addresses that never answer": Attack(callers.never_answer, 6),
    "offers that never connect": Attack(callers.never_connect, 20),
    "odd media": Attack(callers.odd_media, 500),
    "odd requests": Attack(http.odd_requests, 10),
    "slow clients": Attack(http.slow_clients, 80),
    "unread answers": Attack(http.unread_answers, 3000),
    "odd admin requests": Attack(http.odd_admin_requests, 4),
    "side bands": Attack(pages.side_bands, 100),
    "page events": Attack(pages.page_events, 100),
    "hostile backend": Attack(backend.hostile_calls, 1),
    "writer in Redis": Attack(redis.writer, 10),
    machine.STUCK: Attack(machine.stuck_log_reader, 0.1),
    "descriptors": Attack(machine.descriptors, 10),
}
