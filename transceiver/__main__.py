"""`python -m transceiver`: one transceiver. Wiring only.

store ─▶ NodeKeeper ─ route ─▶ Engine ◀─ Intake ◀─ HTTP application
                               Engine ◀─ TransceiverAdmin ◀─ gRPC
backend ◀─ ModelLink ◀──────── Engine
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import structlog
from aiohttp import web

from fleet import admin, logs, process
from fleet.address import Address
from fleet.ending import ending
from fleet.listen import check_free
from fleet.redis_store import RedisStore
from fleet.settings import load
from transceiver import crew
from transceiver.admin import SERVICE_NAME, TransceiverAdmin
from transceiver.backends import Backend, Backends
from transceiver.certificate import LocalCertificate
from transceiver.engine import Engine
from transceiver.model_link import ModelLink
from transceiver.node import NodeKeeper
from transceiver.place import ALONE, Place
from transceiver.settings import TransceiverSettings
from transceiver.signaling.access import ApiKeys
from transceiver.signaling.app import Status, make_app
from transceiver.signaling.console_page import ConsolePage, console_files
from transceiver.signaling.http_listener import listen
from transceiver.signaling.intake import Intake
from transceiver.signaling.neighbours import Neighbours
from trunkline.v1.admin_pb2_grpc import add_TransceiverAdminServicer_to_server
from wire.token import Route

_READY_CHECK_INTERVAL_S = 0.1
_log = structlog.get_logger()


async def run(settings: TransceiverSettings, stop: asyncio.Event, place: Place = ALONE) -> None:
    """Run until `stop`. Raises StartupError when something it needs is not to be had.

    What is closed last is entered first: callers lose the HTTP port, then their calls end, then the
    node index is given back, then the backend sees the stream end.
    """
    # A port somebody else has is found out before other processes hear of this one.
    if not place.http_sockets:
        await check_free(settings.transceiver_http)
    await check_free(settings.transceiver_admin)
    name = f"{socket.gethostname()}:{os.getpid()}"
    certificate = LocalCertificate()
    async with asyncio.TaskGroup() as tasks, ending() as running, AsyncExitStack() as stack:
        store = RedisStore(settings.redis_url.get_secret_value(), settings.cluster)
        stack.push_async_callback(store.close)
        links = [ModelLink(str(backend.address), name) for backend in settings.backends]
        for link in links:
            stack.push_async_callback(link.close)
        backends = _backends(settings, links)
        engine = _engine(settings, certificate, backends, place)
        bound = await engine.start(settings.transceiver_trunk)
        node = NodeKeeper(store, name, _advertised(settings, bound), engine, settings.cluster)
        stack.push_async_callback(node.close)
        stack.push_async_callback(engine.close)
        await node.claim()
        running.append(tasks.create_task(node.run()))
        running += [tasks.create_task(link.run()) for link in links]
        neighbours = Neighbours(place, lambda call_id: engine.find(call_id) is not None)
        stack.push_async_callback(neighbours.close)
        http = await listen(
            _app(settings, certificate, engine, node, backends, neighbours),
            settings.transceiver_http,
            sockets=place.http_sockets,
            unix_path=place.socket_of(place.index),
        )
        stack.push_async_callback(http.close)
        servicer = TransceiverAdmin(engine, node.drain)
        add_admin = partial(add_TransceiverAdminServicer_to_server, servicer)
        server = await admin.serve(settings.transceiver_admin, [add_admin], [SERVICE_NAME])
        stack.push_async_callback(server.close)
        running.append(tasks.create_task(_report_health(node, server)))
        _spare_the_collector()
        _log.info("transceiver_started", http=http.port, trunk=bound.port, admin=server.port)
        place.up()
        await stop.wait()
    _log.info("transceiver_stopped")


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
    backends: Backends,
    place: Place,
) -> Engine:
    return Engine(
        settings.token_keys,
        settings.trunk_keys,
        Route(settings.cluster, 0, 0),  # until there is a lease; no call is made before
        certificate,
        backends,
        max_calls=settings.transceiver_max_calls,
        mtu=settings.transceiver_trunk_mtu,
        process=place.index,
    )


def _advertised(settings: TransceiverSettings, bound: Address) -> Address:
    """Where relays send to; port 0 stands for the one that was bound."""
    chosen = settings.transceiver_trunk_advertise or bound
    return Address(chosen.host, chosen.port or bound.port)


def _app(
    settings: TransceiverSettings,
    certificate: LocalCertificate,
    engine: Engine,
    node: NodeKeeper,
    backends: Backends,
    neighbours: Neighbours,
) -> web.Application:
    keys = [key.get_secret_value() for key in settings.transceiver_api_keys]
    intake = Intake(engine, certificate.fingerprint.value, settings.transceiver_relays)
    status = Status(
        ready=lambda: node.ready,
        counters=lambda: {**engine.counters, **backends.counters},
        calls=lambda: len(engine.calls()),
    )
    console = None
    if settings.transceiver_console:
        console = ConsolePage(keys[0], _version(), lambda: backends.shown, console_files())
    return make_app(
        intake,
        ApiKeys(keys),
        status,
        cors_origins=settings.transceiver_cors_origins,
        console=console,
        neighbours=neighbours,
    )


def _version() -> str:
    try:
        return version("trunkline")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


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
    return process.run(partial(crew.run if several else run, settings))


if __name__ == "__main__":
    sys.exit(main())
