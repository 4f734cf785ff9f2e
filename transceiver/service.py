"""One transceiver process, from its ports to its end.

store ─▶ NodeKeeper ─ route ─▶ Engine ◀─ Intake ◀─ HTTP application
ledger ─▶ CallLimits ─ tickets ──────────┤
         (`transceiver.media`)           └── TransceiverAdmin ◀─ gRPC
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial

import grpc.aio
import structlog
from aiohttp import web

from fleet.admin import process_admin
from fleet.admin import server as admin
from fleet.await_master import after_failover
from fleet.directory.clock import warn_of_skew
from fleet.directory.directory import Node
from fleet.directory.redis_store import RedisStore
from fleet.ending import ending
from fleet.limits.call_limits import CallLimits
from fleet.limits.redis_ledger import RedisLedger
from fleet.process_counts import process_counts
from fleet.seal import Keys, Seal
from transceiver.admin import SERVICE_NAME, TransceiverAdmin
from transceiver.advertised import http_for_others, reachable, trunk_for_relays
from transceiver.engine.engine import Engine
from transceiver.link.backends import Backends
from transceiver.link.model_link import ModelLink
from transceiver.media import Media, make_media
from transceiver.moves.moves import Moves
from transceiver.node import NodeKeeper
from transceiver.pod.leaving import leave
from transceiver.pod.neighbours import Neighbours
from transceiver.pod.owners import Owners
from transceiver.pod.pod_place import ALONE, PodPlace
from transceiver.pod.proof import PURPOSE, Proofs
from transceiver.pod.signs_of_life import SignsOfLife
from transceiver.record.making import Records, make_records
from transceiver.recovery.recovery import Recovery
from transceiver.settings import TransceiverSettings
from transceiver.signaling.access import ApiKeys
from transceiver.signaling.app import Status, make_app
from transceiver.signaling.console_page import ConsolePage, console_files
from transceiver.signaling.http_listener import listen
from transceiver.signaling.intake import Intake
from trunkline.process.address import Address
from trunkline.process.listen import check_free
from trunkline.v1.admin_pb2_grpc import (
    add_ProcessAdminServicer_to_server,
    add_TransceiverAdminServicer_to_server,
)

GREETING_PATIENCE_S = 0.5  # a backend in the same cluster greets in a tenth of it
_READY_CHECK_INTERVAL_S = 0.1
_log = structlog.get_logger(__name__)


async def run(
    settings: TransceiverSettings, stop: asyncio.Event, pod_place: PodPlace = ALONE
) -> None:
    """Run until `stop`. Raises StartupError when something it needs is not to be had.

    After `stop` live calls have their time (`transceiver.pod.leaving`). What is closed last is
    entered first: callers lose the HTTP port, then their calls end, then their places and the node
    index are given back, then the backend sees the stream end.
    """
    await _check(settings, pod_place)
    name = f"{socket.gethostname()}:{os.getpid()}"
    async with asyncio.TaskGroup() as tasks, ending() as running, AsyncExitStack() as stack:
        # Asked when something is sealed or opened: the engine has the ring as operators rotate it.
        store, limits = _ledgers(settings, lambda: media.engine.key_rings[0], stack)
        media = make_media(settings, pod_place, name, limits, stack)
        trunk = await media.engine.start(settings.transceiver_trunk)
        records = make_records(settings, media, pod_place, stack)
        recovery = _recovery(settings, media.engine, stack)
        node = await _node(settings, name, trunk, media.engine, store, pod_place, stack)
        links = (link.run() for link in media.links)
        loops = [node.run(), limits.run(), *links, *records.loops]
        running += [tasks.create_task(loop) for loop in loops]
        await _greeted(media.links)
        owners = Owners(pod_place, http_for_others(settings, trunk), _nodes_of(store))
        http_counters: Counter[str] = Counter()
        proofs = Proofs(Seal(lambda: media.engine.key_rings[0], PURPOSE, settings.cluster))
        neighbours = Neighbours(pod_place, partial(_holds, media.engine), proofs, owners)
        stack.push_async_callback(neighbours.close)
        moves = _moves(settings, media, node, neighbours, trunk, store)
        app = _app(settings, media, node, neighbours, moves, http_counters, records)
        http = await listen(
            app,
            settings.transceiver_http,
            sockets=pod_place.http_sockets,
            unix_path=pod_place.socket_of(pod_place.index),
            counters=http_counters,
        )
        stack.push_async_callback(http.close)
        stack.push_async_callback(moves.close)
        running.append(tasks.create_task(moves.emptying.run()))
        server = await admin.serve(
            settings.transceiver_admin,
            _admin_services(settings, media.engine, node, limits, store, moves, records),
            [SERVICE_NAME, process_admin.SERVICE_NAME],
            admin.AdminSecurity.of(settings),
        )
        stack.push_async_callback(server.close)
        running.append(tasks.create_task(_report_health(node, server)))
        _spare_the_collector()
        _log.info("transceiver_started", http=http.port, trunk=trunk.port, admin=server.port)
        if recovery is not None:
            recovery.start(node, store, media, proofs)
        pod_place.up()
        await stop.wait()
        await leave(node, media.engine, settings.transceiver_drain_s, stop)
    _log.info("transceiver_stopped")


async def _greeted(links: Sequence[ModelLink]) -> None:
    """Give the backends that are there a moment, or the first callers hear that none is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GREETING_PATIENCE_S):
            await asyncio.gather(*(link.until_ready() for link in links))


async def _check(settings: TransceiverSettings, pod_place: PodPlace) -> None:
    """Raise StartupError for a certificate that cannot serve or a port that somebody else has.

    Before other processes hear of this one.
    """
    admin.AdminSecurity.of(settings).check()
    if not pod_place.http_sockets:
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


def _recovery(
    settings: TransceiverSettings, engine: Engine, stack: AsyncExitStack
) -> Recovery | None:
    """What lets calls outlive processes; None when it is not wanted."""
    if not settings.transceiver_takeover:
        return None
    url = settings.redis_url.get_secret_value()
    recovery = Recovery(engine, url, settings.cluster, lambda: engine.key_rings[0])
    stack.push_async_callback(recovery.close)
    return recovery


async def _node(
    settings: TransceiverSettings,
    name: str,
    bound: Address,
    engine: Engine,
    store: RedisStore,
    pod_place: PodPlace,
    stack: AsyncExitStack,
) -> NodeKeeper:
    """The lease on a node index, claimed."""
    trunk = trunk_for_relays(settings, bound)
    admin_address = reachable(settings.transceiver_admin, trunk.host)
    http_address = http_for_others(settings, bound)
    node = NodeKeeper(
        *(store, name, trunk, engine, settings.cluster, admin_address, http_address),
        is_node=pod_place.is_node,
        on_fenced=engine.leave_all,
    )
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


def _admin_services(
    settings: TransceiverSettings,
    engine: Engine,
    node: NodeKeeper,
    limits: CallLimits,
    store: RedisStore,
    moves: Moves,
    records: Records,
) -> list[Callable[[grpc.aio.Server], None]]:
    own = TransceiverAdmin(engine, node, limits, moves, records.acted)
    common = process_admin.ProcessAdmin("transceiver", settings, _nodes_of(store))
    return [
        partial(add_TransceiverAdminServicer_to_server, own),
        partial(add_ProcessAdminServicer_to_server, common),
    ]


def _nodes_of(store: RedisStore) -> process_admin.Nodes:
    async def nodes() -> Sequence[Node]:
        return (await store.snapshot()).nodes

    return nodes


def _moves(
    settings: TransceiverSettings,
    media: Media,
    node: NodeKeeper,
    neighbours: Neighbours,
    trunk: Address,
    store: RedisStore,
) -> Moves:
    engine = media.engine
    return Moves(
        *(engine, media.backends, neighbours),
        keys=lambda: engine.key_rings[0],
        cluster=settings.cluster,
        own_http=http_for_others(settings, trunk),
        nodes=_nodes_of(store),
        drains=lambda: node.tenancy.draining,
    )


def _app(
    settings: TransceiverSettings,
    media: Media,
    node: NodeKeeper,
    neighbours: Neighbours,
    moves: Moves,
    http_counters: Counter[str],
    records: Records,
) -> web.Application:
    engine, backends = media.engine, media.backends
    fingerprint = media.certificate.fingerprint.value
    status = Status(
        ready=lambda: node.ready,
        counters=lambda: {
            **media.counters,
            **neighbours.counters,
            **http_counters,
            **records.counters(),
            **process_counts(),
        },
        gauges=lambda: media.gauges,
    )
    keys = settings.transceiver_api_keys
    return make_app(
        Intake(
            *(engine, fingerprint, settings.transceiver_relays, backends, media.tickets),
            retries=media.retries,
        ),
        ApiKeys(keys),
        lambda: engine.key_rings[0],
        status,
        pages=settings.transceiver_pages,
        cors_origins=settings.transceiver_cors_origins,
        console=_console(keys[0].key, backends) if settings.transceiver_console else None,
        neighbours=neighbours,
        for_processes=[
            *SignsOfLife(neighbours, lambda: engine.owner).routes(),
            *moves.routes(),
        ],
        http_counters=http_counters,
    )


def _holds(engine: Engine, call_id: str) -> bool:
    return engine.find(call_id) is not None


def _console(key: str, backends: Backends) -> ConsolePage:
    version = process_admin.build_version()
    return ConsolePage(key, version, lambda: backends.shown, console_files())


async def _report_health(node: NodeKeeper, server: admin.AdminServer) -> None:
    """Ready means: calls can be routed here. An absent backend is told to each caller instead."""
    reported = False
    while True:
        if node.ready != reported:
            reported = node.ready
            await server.set_serving(reported)
        await asyncio.sleep(_READY_CHECK_INTERVAL_S)
