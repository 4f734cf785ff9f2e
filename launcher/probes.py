"""Asks a part whether it is ready. No probe raises, and each is bounded in time."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launcher.part import Probe

PROBE_TIMEOUT_S = 1.0
_FRESH_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1),  # a shared one remembers the refusals and backs off
    ("grpc.enable_http_proxy", 0),
)


def redis_answers(host: str, port: int) -> Probe:
    """Ready when the server answers PING, be it only to ask for a password."""

    async def probe() -> bool:
        reply = await _exchange(host, port, b"PING\r\n") or b""
        return reply.startswith((b"+PONG", b"-NOAUTH"))

    return probe


def http_answers(host: str, port: int) -> Probe:
    """Ready when `/healthz` answers 200."""

    async def probe() -> bool:
        request = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        reply = await _exchange(host, port, request) or b""
        return reply.startswith(b"HTTP/1.1 200 ")

    return probe


def grpc_serving(host: str, port: int) -> Probe:
    """Ready when grpc.health.v1 says SERVING for the whole process (service "")."""

    async def probe() -> bool:
        return await _accepts(host, port) and await _serving(host, port)

    return probe


async def _serving(host: str, port: int) -> bool:
    target = f"ipv6:[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with grpc.aio.insecure_channel(target, options=_FRESH_CHANNEL) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            reply = await check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def _accepts(host: str, port: int) -> bool:
    """Tell whether the port accepts: a refused connect is far cheaper than a refused channel."""
    return await _exchange(host, port, b"") is not None


async def _exchange(host: str, port: int, request: bytes) -> bytes | None:
    """Connect, send `request` and read one answer to it; None when nobody is there in time."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return await reader.read(64) if request else b""
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return None
