"""The attackers, by name; each is a coroutine that goes on until it is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from loadtest.siege.attackers import backend, callers, http, machine, packets, pages, redis
from loadtest.siege.ground import Ground

Attack = Callable[[Ground], Coroutine[Any, Any, None]]

ATTACKS: dict[str, Attack] = {
    "garbage": packets.garbage,
    "forged checks": packets.forged_checks,
    "replayed checks": packets.replayed_checks,
    "addresses that never answer": callers.never_answer,
    "offers that never connect": callers.never_connect,
    "odd media": callers.odd_media,
    "odd requests": http.odd_requests,
    "slow clients": http.slow_clients,
    "unread answers": http.unread_answers,
    "odd admin requests": http.odd_admin_requests,
    "side bands": pages.side_bands,
    "page events": pages.page_events,
    "hostile backend": backend.hostile_calls,
    "writer in Redis": redis.writer,
    machine.STUCK: machine.stuck_log_reader,
    "descriptors": machine.descriptors,
}
