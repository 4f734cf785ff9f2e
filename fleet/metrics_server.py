"""A port for Prometheus alone, for processes that serve no other HTTP.

It has a thread of its own, so a process whose event loop is busy is scraped all the same.
"""

from __future__ import annotations

import socket
import threading
import time
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import prometheus_client
from prometheus_client.registry import Collector

from fleet.errors import AddressInUse
from fleet.metrics import registry_of
from trunkline.process.address import Address

MAX_CONNECTIONS = 16
CONNECTION_TIMEOUT_S = 5.0  # for what a scraper must send, or take
_PAUSE_S = 0.2


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name there)
        """Say nothing: it would go to stderr, which may be stuck."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """A thread for each of a few connections; what comes beyond is closed at once."""

    daemon_threads = True

    def __init__(self, address: Address) -> None:
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.address_family = socket.getaddrinfo(address.host, address.port)[0][0]
        super().__init__((address.host, address.port), _Handler)

    def server_bind(self) -> None:
        """Without looking its own name up in the DNS, as the base class does."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if there is a place."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread to be had
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the thread: then the place is free again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def get_request(self) -> Any:
        """The next connection; at the limit of descriptors not in a hurry."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_S)  # it is still there: without this the loop would spin
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper went away: nobody needs to know."""


def serve_metrics(address: Address, collector: Collector) -> MetricsServer:
    """Serve /metrics from a thread; `shutdown()` ends it. Raises AddressInUse."""
    try:
        server = MetricsServer(address)
    except OSError as error:
        raise AddressInUse(f"{address} (metrics): {error.strerror}") from None
    server.set_app(prometheus_client.make_wsgi_app(registry_of(collector)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
