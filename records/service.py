"""One recorder process, from its ports to its end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial

import structlog

from fleet.admin import process_admin
from fleet.admin import server as admin
from fleet.ending import ending
from fleet.errors import StartupError, StoreUnavailable
from fleet.keep_going import keep_going
from fleet.metrics_server import serve_metrics
from fleet.record.stream import BatchSeal
from records.evidence.keys import BadKey, SigningKey
from records.evidence.roots import make_root
from records.intake import Intake
from records.metrics import RecordsCollector
from records.recorder import Recorder
from records.settings import RecordsSettings
from records.store.database import Connection
from records.store.retention import Retention
from records.store.store import Store
from trunkline.v1.admin_pb2_grpc import add_ProcessAdminServicer_to_server

FORGET_INTERVAL_S = 3600.0
_HEALTH_INTERVAL_S = 0.1
_log = structlog.get_logger(__name__)


async def run(settings: RecordsSettings, stop: asyncio.Event) -> None:
    """Run until `stop`. Raises StartupError when something it needs is not to be had."""
    admin.AdminSecurity.of(settings).check()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks, ending() as running:
        key = _signing_key(settings)
        store = Store(settings.records_store.get_secret_value())
        signer = partial(_sign, store, key, settings.records_root_interval_s) if key else None
        stack.callback(store.close)
        forgetter = partial(_forget, store, _retention(settings))
        before = await asyncio.to_thread(store.migrate)
        recorder = _recorder(settings, store, stack)
        scraper = serve_metrics(settings.records_metrics, RecordsCollector(recorder))
        stack.callback(scraper.server_close)
        stack.push_async_callback(asyncio.to_thread, scraper.shutdown)
        server = await _admin(settings)
        stack.push_async_callback(server.close)
        running.append(tasks.create_task(keep_going(recorder.run, partial(_survived, recorder))))
        running.append(tasks.create_task(_report_health(recorder, server)))
        running.append(tasks.create_task(keep_going(forgetter, partial(_survived, recorder))))
        if signer is not None:
            running.append(tasks.create_task(keep_going(signer, partial(_survived, recorder))))
        _log.info("records_started", store=store.place, schema_before=before, admin=server.port)
        await stop.wait()
    _log.info("records_stopped", **recorder.counters)


def _recorder(settings: RecordsSettings, store: Store, stack: AsyncExitStack) -> Recorder:
    intake = Intake(settings.redis_url.get_secret_value(), settings.cluster)
    stack.push_async_callback(intake.close)
    ring = settings.token_keys
    return Recorder(intake, store, BatchSeal(lambda: ring, settings.cluster))


async def _admin(settings: RecordsSettings) -> admin.AdminServer:
    common = process_admin.ProcessAdmin("records", settings, nodes=None)
    return await admin.serve(
        settings.records_admin,
        [partial(add_ProcessAdminServicer_to_server, common)],
        [process_admin.SERVICE_NAME],
        admin.AdminSecurity.of(settings),
    )


def _signing_key(settings: RecordsSettings) -> SigningKey | None:
    if settings.records_signing_key is None:
        return None
    try:
        return SigningKey.read(settings.records_signing_key)
    except BadKey as error:
        raise StartupError(f"TRUNKLINE_RECORDS_SIGNING_KEY: {error}") from None


def _retention(settings: RecordsSettings) -> Retention:
    return Retention(settings.records_keep_content_days, settings.records_keep_days)


async def _forget(store: Store, retention: Retention) -> None:
    """What is older than it may be, now and every FORGET_INTERVAL_S."""
    while True:
        with suppress(StoreUnavailable):
            await asyncio.to_thread(store.forget, retention)
        await asyncio.sleep(FORGET_INTERVAL_S)


async def _sign(store: Store, key: SigningKey, interval_s: float) -> None:
    """A signed root every `interval_s`, over what was stored since the one before."""

    def make(connection: Connection, now_us: int) -> object:
        return make_root(connection, key, now_us)

    while True:
        await asyncio.sleep(interval_s)
        with suppress(StoreUnavailable):  # the recorder says so; the next root is over more
            while await asyncio.to_thread(store.sign, make):
                pass


def _survived(recorder: Recorder, error: Exception) -> None:
    recorder.counters["faults"] += 1
    _log.error("recorder_failed", exc_info=error)


async def _report_health(recorder: Recorder, server: admin.AdminServer) -> None:
    """Ready means: what is read can be stored."""
    told = False
    while True:
        if recorder.well != told:
            told = recorder.well
            await server.set_serving(told)
        await asyncio.sleep(_HEALTH_INTERVAL_S)
