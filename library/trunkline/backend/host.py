"""The process around a backend, to which a fleet adds what its operators need."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Self

import grpc.aio

from trunkline.backend import log
from trunkline.backend.server import BackendServer
from trunkline.backend.settings import Settings, SettingsError


class Host:
    """A process with four settings, and its log on stderr.

    Trunkline's own backends derive theirs (`backends.operated`): it adds an admin port, reflection
    and a log with redaction, by what is overridden here and by nothing else.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def from_environment(cls) -> Self:
        """As `TRUNKLINE_*` says. Raises SystemExit: 2 after a line on stderr per bad variable."""
        try:
            return cls(Settings.read(os.environ))
        except SettingsError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None

    def configure_log(self) -> None:
        """Called first of all."""
        log.configure(self.settings.log_level)

    async def check(self) -> None:
        """Raise StartupError for what would keep it from serving: asked before models load."""

    def add_services(self, server: grpc.aio.Server) -> None:
        """Serve more than calls and health on the backend's port."""

    def beside(self, _server: BackendServer) -> AbstractAsyncContextManager[object]:
        """What runs beside the backend, entered when it serves."""
        return nullcontext()
