"""The media half of the process: the engine, and what its calls come from and go to.

ledger ─▶ CallLimits ─ tickets ─▶ Engine ◀─ links ─ Backends
LoadProbe ─▶ Capacity ─ calls ──────┘└─ calls without one ─ Restorer
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from fleet.limits.call_limits import CallLimits
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.capacity import Capacity, LoadSample
from transceiver.engine.engine import Engine
from transceiver.engine.load_probe import LoadProbe
from transceiver.link.backends import Backend, Backends
from transceiver.link.model_link import ModelLink
from transceiver.link.retry_budget import RetryBudget
from transceiver.pod.pod_place import PodPlace
from transceiver.restore.restorer import Restorer
from transceiver.settings import TransceiverSettings
from transceiver.transport.certificate import LocalCertificate
from wire.token import Route


@dataclass(frozen=True)
class Media:
    """The engine, and what calls come from and go to."""

    engine: Engine
    certificate: LocalCertificate
    limits: CallLimits
    tickets: CallTickets
    links: Sequence[ModelLink]
    backends: Backends
    probe: LoadProbe
    retries: RetryBudget
    restorer: Restorer

    @property
    def counters(self) -> Mapping[str, int]:
        """What was counted, by name."""
        return {**self.engine.counters, **self.backends.counters, **self.limits.counters}

    @property
    def gauges(self) -> Mapping[str, float]:
        """What is so now, by the end of its metric's name."""
        load = self.probe.latest
        return {
            "calls": len(self.engine.calls()),
            "calls_without_backend": self.restorer.searching,
            "capacity_calls": self.engine.max_calls,
            "loop_lateness_seconds": load.lateness_s,
            "loop_busy_ratio": load.busy,
            "loop_tasks": len(asyncio.all_tasks()),
        }


def make_media(
    settings: TransceiverSettings,
    pod_place: PodPlace,
    name: str,
    limits: CallLimits,
    stack: AsyncExitStack,
) -> Media:
    """All of it, closed with `stack`; `name` is what backends know the process by."""
    links = [ModelLink(str(backend.address), name) for backend in settings.backends]
    for link in links:
        stack.push_async_callback(link.close)
    certificate = LocalCertificate()
    engine = _engine(settings, certificate, pod_place)
    tickets = CallTickets(limits, engine)
    for link in links:
        link.on_usage = tickets.used
    probe = watch_load(engine, settings)
    stack.callback(probe.stop)
    backends, retries = _backends(settings, links), RetryBudget()
    within_s = settings.transceiver_backend_restore_s
    restorer = Restorer(engine, backends, tickets, retries, within_s)
    stack.push_async_callback(restorer.close)
    return Media(engine, certificate, limits, tickets, links, backends, probe, retries, restorer)


def _backends(settings: TransceiverSettings, links: list[ModelLink]) -> Backends:
    named = zip(settings.backends, links, strict=True)
    return Backends([Backend(chosen.name, link, chosen.weight) for chosen, link in named])


def _engine(
    settings: TransceiverSettings,
    certificate: LocalCertificate,
    pod_place: PodPlace,
) -> Engine:
    return Engine(
        settings.token_keys,
        settings.trunk_keys,
        Route(settings.cluster, 0, 0),  # until there is a lease; no call is made before
        certificate,
        max_calls=settings.transceiver_max_calls,
        mtu=settings.trunk_mtu,
        process=pod_place.index,
    )


def watch_load(engine: Engine, settings: TransceiverSettings) -> LoadProbe:
    """Let the engine take as many calls as it turns out to hold, if it is to learn that."""
    capacity = Capacity(settings.transceiver_max_calls)

    def learn(sample: LoadSample) -> None:
        if settings.transceiver_learn_capacity:
            engine.max_calls = capacity.learn(sample)

    probe = LoadProbe(lambda: len(engine.calls()), lambda: engine.begun, learn)
    probe.start()
    return probe
