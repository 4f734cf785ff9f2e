"""Stock aiortc with a backend of its own, started, watched and ended like our parts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from launcher import Stack, StackSettings
from launcher.addresses import LOOPBACK, Binding, free_ports
from launcher.part import Part, Probe
from launcher.probes import grpc_serving
from launcher.variables import without
from loadtest.target import Target
from trunkline.process.address import Address

ENGINE = "aiortc"
HELD = 16
"""Frames that its jitter buffer may keep until more come (its capacity): they are not lost."""
NO_KEY = "none"
ACCEPTS = "TRUNKLINE_BACKEND_ACCEPTS"
"""What an echo backend wants to hear."""


@asynccontextmanager
async def aiortc_beside(
    audio_format: str, backend_port: int | None = None
) -> AsyncIterator[Target]:
    """Run it for the length of the block; with an echo backend, unless there is another.

    Raises StartupError.
    """
    environment = {**without(os.environ), "PYTHONUNBUFFERED": "1"}
    echo_port, http_port = free_ports(2)
    parts = [_aiortc(http_port, backend_port or echo_port, audio_format, environment)]
    if backend_port is None:
        parts = [
            _echo(echo_port, audio_format, environment),
            replace(parts[0], after=("backend",)),
        ]
    async with Stack(StackSettings(), parts=parts) as stack:
        yield Target(f"http://{Address(LOOPBACK, http_port)}", NO_KEY, stack)


def _echo(port: int, audio_format: str, environment: Mapping[str, str]) -> Part:
    return Part(
        name="backend",
        command=(sys.executable, "-m", "backends.echo"),
        ready=grpc_serving(LOOPBACK, port),
        environment={
            **environment,
            ACCEPTS: audio_format,
            "TRUNKLINE_BACKEND_LISTEN": str(Address(LOOPBACK, port)),
            "TRUNKLINE_BACKEND_ADMIN": str(Address(LOOPBACK, 0)),
            "TRUNKLINE_LOG_LEVEL": "warning",
        },
        binds=(Binding("tcp", LOOPBACK, port),),
    )


def _aiortc(
    http_port: int,
    backend_port: int,
    audio_format: str,
    environment: Mapping[str, str],
) -> Part:
    return Part(
        name=ENGINE,
        command=(
            *(sys.executable, "-m", "loadtest.peers.aiortc_echo", str(http_port)),
            *(str(Address(LOOPBACK, backend_port)), audio_format),
        ),
        ready=_accepts(http_port),
        environment=environment,
        binds=(Binding("tcp", LOOPBACK, http_port),),
    )


def _accepts(port: int) -> Probe:
    """Ready when the HTTP port accepts."""

    async def probe() -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            return False
        writer.close()
        return True

    return probe
