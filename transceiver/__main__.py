"""`python -m transceiver`: one transceiver. Wiring only.

store ─▶ NodeKeeper ─ route ─▶ Engine ◀─ Intake ◀─ HTTP application
ledger ─▶ CallLimits ─ tickets ──────────┤
backend ◀─ ModelLink ◀─ Backends ────────┘
LoadProbe ─▶ Capacity ─ calls ▶ Engine ◀─ TransceiverAdmin ◀─ gRPC
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import grpc.aio
import structlog
from aiohttp import web

from fleet import logs
from fleet.address import Address
from fleet.admin import process_admin
from fleet.admin import server as admin
from fleet.await_master import after_failover
from fleet.directory.clock import warn_of_skew
from fleet.directory.directory import Node
from fleet.directory.redis_store import RedisStore
from fleet.ending import ending
from fleet.limits.call_limits import CallLimits
from fleet.limits.redis_ledger import RedisLedger
from fleet.seal import Keys, Seal
from fleet.settings import load
from transceiver.admin import SERVICE_NAME, TransceiverAdmin
from transceiver.engine.call_tickets import CallTickets
from transceiver.engine.capacity import Capacity, LoadSample
from transceiver.engine.engine import Engine
from transceiver.engine.load_probe import LoadProbe
from transceiver.link.backends import Backend, Backends
from transceiver.link.model_link import ModelLink
from transceiver.node import NodeKeeper
from transceiver.pod import crew
from transceiver.pod.leaving import leave
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.owners import Owners
from transceiver.pod.pod_place import ALONE, Place
from transceiver.pod.proof import PURPOSE, Proofs
from transceiver.settings import TransceiverSettings
from transceiver.signaling.access import ApiKeys
from transceiver.signaling.app import Status, make_app
from transceiver.signaling.console_page import ConsolePage, console_files
from transceiver.signaling.http_listener import listen
from transceiver.signaling.intake import Intake
from transceiver.transport.certificate import LocalCertificate
from trunkline.process import shell
from trunkline.process.listen import check_free
from trunkline.v1.admin_pb2_grpc import (
    add_ProcessAdminServicer_to_server,
    add_TransceiverAdminServicer_to_server,
)
from wire.token import Route

_READY_CHECK_INTERVAL_S = 0.1
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Media:
    """The engine, and what calls come from and go to."""

    engine: Engine
    tickets: CallTickets
    links: Sequence[ModelLink]
    backends: Backends
    probe: LoadProbe


async def run(settings: TransceiverSettings, stop: asyncio.Event, place: Place = ALONE) -> None:
    """Run until `stop`. Raises StartupError when something it needs is not to be had.

    After `stop` live calls have their time (`transceiver.pod.leaving`). What is closed last is
    entered first: callers lose the HTTP port, then their calls end, then their places and the node
    index are given back, then the backend sees the stream end.
    """
    await _check(settings, place)
    name = f"{socket.gethostname()}:{os.getpid()}"
    certificate = LocalCertificate()
    async with asyncio.TaskGroup() as tasks, ending() as running, AsyncExitStack() as stack:
        # Asked when something is sealed or opened: the engine has the ring as operators rotate it.
        store, limits = _ledgers(settings, lambda: media.engine.key_rings[0], stack)
        media = _media(settings, place, name, certificate, limits, stack)
        trunk = await media.engine.start(settings.transceiver_trunk)
        node = await _node(settings, name, trunk, media.engine, store, stack)
        loops = [node.run(), limits.run(), *(link.run() for link in media.links)]
        running += [tasks.create_task(loop) for loop in loops]
        owners = Owners(place, _http_for_others(settings, trunk), _nodes_of(store))
        http_counters: Counter[str] = Counter()
        app = _app(settings, place, certificate, media, node, limits, owners, http_counters, stack)
        http = await listen(
            app,
            settings.transceiver_http,
            sockets=place.http_sockets,
            unix_path=place.socket_of(place.index),
            counters=http_counters,
        )
        stack.push_async_callback(http.close)
        server = await admin.serve(
            settings.transceiver_admin,
            _admin_services(settings, media.engine, node, limits, store),
            [SERVICE_NAME, process_admin.SERVICE_NAME],
            admin.AdminSecurity.of(settings),
        )
        stack.push_async_callback(server.close)
        running.append(tasks.create_task(_report_health(node, server)))
        _spare_the_collector()
        _log.info("transceiver_started", http=http.port, trunk=trunk.port, admin=server.port)
        place.up()
        await stop.wait()
        await leave(node, media.engine, settings.transceiver_drain_s, stop)
    _log.info("transceiver_stopped")


async def _check(settings: TransceiverSettings, place: Place) -> None:
    """Raise StartupError for a certificate that cannot serve or a port that somebody else has.

    Before other processes hear of this one.
    """
    admin.AdminSecurity.of(settings).check()
    if not place.http_sockets:
        await check_free(settings.transceiver_http)
    await check_free(settings.transceiver_admin)


def _ledgers(
    settings: TransceiverSettings, keys: Keys, stack: AsyncExitStack
) -> tuple[RedisStore, CallLimits]:
    """What all processes agree on: the directory, and what keys have used."""
    redis_url = settings.redis_url.get_secret_value()
    store = RedisStore(redis_url, settings.cluster, keys)
    stack.push_async_callback(store.close)
    ledger = RedisLedger(redis_url, settings.cluster, keys)
    limits = CallLimits(ledger, settings.transceiver_limits)
    stack.push_async_callback(limits.close)
    return store, limits


def _media(
    settings: TransceiverSettings,
    place: Place,
    name: str,
    certificate: LocalCertificate,
    limits: CallLimits,
    stack: AsyncExitStack,
) -> _Media:
    links = [ModelLink(str(backend.address), name) for backend in settings.backends]
    for link in links:
        stack.push_async_callback(link.close)
    engine = _engine(settings, certificate, place)
    tickets = CallTickets(limits, engine)
    for link in links:
        link.on_usage = tickets.used
    probe = _watch_load(engine, settings)
    stack.callback(probe.stop)
    return _Media(engine, tickets, links, _backends(settings, links), probe)


async def _node(
    settings: TransceiverSettings,
    name: str,
    bound: Address,
    engine: Engine,
    store: RedisStore,
    stack: AsyncExitStack,
) -> NodeKeeper:
    """The lease on a node index, claimed."""
    trunk = _advertised(settings, bound)
    admin_address = _reachable(settings.transceiver_admin, trunk.host)
    http_address = _http_for_others(settings, bound)
    node = NodeKeeper(store, name, trunk, engine, settings.cluster, admin_address, http_address)
    stack.push_async_callback(node.close)
    stack.push_async_callback(engine.close)
    await after_failover(node.claim)
    await warn_of_skew(store)
    return node


def _spare_the_collector() -> None:
    """Keep garbage collection out of the way of media.

    What is there at the start stays, so no collection need look at it again; a call makes a few
    hundred objects and frees nearly all of them by reference count, so the young are looked at
    every 50,000 and not every 700, which would be a pause of a millisecond several times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _backends(settings: TransceiverSettings, links: list[ModelLink]) -> Backends:
    named = zip(settings.backends, links, strict=True)
    return Backends([Backend(said.name, link, said.weight) for said, link in named])


def _engine(
    settings: TransceiverSettings,
    certificate: LocalCertificate,
    place: Place,
) -> Engine:
    return Engine(
        settings.token_keys,
        settings.trunk_keys,
        Route(settings.cluster, 0, 0),  # until there is a lease; no call is made before
        certificate,
        max_calls=settings.transceiver_max_calls,
        mtu=settings.trunk_mtu,
        process=place.index,
    )


def _advertised(settings: TransceiverSettings, bound: Address) -> Address:
    """Where relays send to; port 0 stands for the one that was bound."""
    chosen = settings.transceiver_trunk_advertise or bound
    return Address(chosen.host, chosen.port or bound.port)


def _admin_services(
    settings: TransceiverSettings,
    engine: Engine,
    node: NodeKeeper,
    limits: CallLimits,
    store: RedisStore,
) -> list[Callable[[grpc.aio.Server], None]]:
    own = TransceiverAdmin(engine, node, limits)
    common = process_admin.ProcessAdmin("transceiver", settings, _nodes_of(store))
    return [
        partial(add_TransceiverAdminServicer_to_server, own),
        partial(add_ProcessAdminServicer_to_server, common),
    ]


def _nodes_of(store: RedisStore) -> process_admin.Nodes:
    async def nodes() -> Sequence[Node]:
        return (await store.snapshot()).nodes

    return nodes


def _reachable(bound: Address, own_host: str) -> Address:
    """Where others reach what is bound, on all addresses perhaps."""
    return Address(own_host, bound.port) if bound.unspecified else bound


def _http_for_others(settings: TransceiverSettings, trunk_bound: Address) -> Address | None:
    """Where other pods reach this one's HTTP port; None while that is any free one, as in tests."""
    http, host = settings.transceiver_http, _advertised(settings, trunk_bound).host
    return _reachable(http, host) if http.port else None


def _watch_load(engine: Engine, settings: TransceiverSettings) -> LoadProbe:
    """Let the engine take as many calls as it turns out to hold, if it is to learn that."""
    capacity = Capacity(settings.transceiver_max_calls)

    def learn(sample: LoadSample) -> None:
        if settings.transceiver_learn_capacity:
            engine.max_calls = capacity.learn(sample)

    probe = LoadProbe(lambda: len(engine.calls()), lambda: engine.begun, learn)
    probe.start()
    return probe


def _gauges(engine: Engine, load: LoadSample) -> dict[str, float]:
    return {
        "calls": len(engine.calls()),
        "capacity_calls": engine.max_calls,
        "loop_lateness_seconds": load.lateness_s,
        "loop_busy_ratio": load.busy,
        "loop_tasks": len(asyncio.all_tasks()),
    }


def _app(
    settings: TransceiverSettings,
    place: Place,
    certificate: LocalCertificate,
    media: _Media,
    node: NodeKeeper,
    limits: CallLimits,
    owners: Owners,
    http_counters: Counter[str],
    stack: AsyncExitStack,
) -> web.Application:
    engine, backends = media.engine, media.backends
    fingerprint = certificate.fingerprint.value
    proofs = Proofs(Seal(lambda: engine.key_rings[0], PURPOSE, settings.cluster))
    holds = partial(_holds, engine)
    neighbours = Neighbours(place, holds, proofs, owners)
    stack.push_async_callback(neighbours.close)
    status = Status(
        ready=lambda: node.ready,
        counters=lambda: {
            **engine.counters,
            **backends.counters,
            **limits.counters,
            **neighbours.counters,
            **http_counters,
        },
        gauges=lambda: _gauges(engine, media.probe.latest),
    )
    keys = settings.transceiver_api_keys
    return make_app(
        Intake(engine, fingerprint, settings.transceiver_relays, backends, media.tickets),
        ApiKeys(keys),
        lambda: engine.key_rings[0],
        status,
        pages=settings.transceiver_pages,
        cors_origins=settings.transceiver_cors_origins,
        console=_console(keys[0].key, backends) if settings.transceiver_console else None,
        neighbours=neighbours,
        http_counters=http_counters,
    )


def _holds(engine: Engine, call_id: str) -> bool:
    return engine.find(call_id) is not None


def _console(key: str, backends: Backends) -> ConsolePage:
    version = process_admin.build_version()
    return ConsolePage(key, version, lambda: backends.shown, console_files())


async def _report_health(node: NodeKeeper, server: admin.AdminServer) -> None:
    """Ready means: calls can be routed here. An absent backend is told to each caller instead."""
    said = False
    while True:
        if node.ready != said:
            said = node.ready
            await server.set_serving(said)
        await asyncio.sleep(_READY_CHECK_INTERVAL_S)


def main() -> int:
    """Entry point; returns the exit status."""
    settings = load(TransceiverSettings, "python -m transceiver")
    logs.configure(settings.log_level, settings.log_format, process="transceiver")
    several = settings.transceiver_processes > 1
    return shell.run(partial(crew.run if several else run, settings))


if __name__ == "__main__":
    sys.exit(main())
