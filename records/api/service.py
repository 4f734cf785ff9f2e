"""One process that serves the record, from its port to its end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from fleet.admin.access import AdminAccess
from fleet.admin.process_admin import build_version
from records.api.access import Access
from records.api.app import make_app
from records.api.pages import PageFiles, page_files
from records.api.reader import Reader
from records.api.settings import RecordsApiSettings
from records.money.book_file import load_book
from records.store.store import Store
from trunkline.process.listen import bind_tcp

IDLE_TIMEOUT_S = 20.0
MAX_LINE_BYTES = 8190  # of a request line or a header
SHUTDOWN_S = 2.0
_log = structlog.get_logger(__name__)


async def run(settings: RecordsApiSettings, stop: asyncio.Event) -> None:
    """Run until `stop`. Raises StartupError when the store or the port is not to be had."""
    async with AsyncExitStack() as stack:
        store = Store(settings.records_store.get_secret_value())
        stack.callback(store.close)
        await asyncio.to_thread(store.check)
        reader = Reader(store)
        stack.push_async_callback(asyncio.to_thread, reader.close)
        access = Access(AdminAccess(settings.admin_tokens), settings.records_api_keys)
        book = load_book(settings.records_prices)
        app = make_app(reader, access, build_version(), PageFiles(page_files()), book)
        port = await _listen(app, settings, stack)
        _log.info("records_api_started", store=store.place, http=port)
        await stop.wait()
    _log.info("records_api_stopped")


async def _listen(app: web.Application, settings: RecordsApiSettings, stack: AsyncExitStack) -> int:
    sockets = await bind_tcp(settings.records_api_http)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        keepalive_timeout=IDLE_TIMEOUT_S,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_LINE_BYTES,
    )
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    for one in sockets:
        await web.SockSite(runner, one).start()
    port: int = sockets[0].getsockname()[1]
    return port
