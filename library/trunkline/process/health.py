"""grpc.health.v1 for a backend's port: what launchers, load balancers and kubelets ask.

The package grpcio-health-checking does the same; a library that needs grpcio and protobuf alone has
these few lines instead. A HealthCheckRequest has the wire format of a StringValue (one string,
field 1) and a HealthCheckResponse that of an Int32Value (one enum, field 1).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import IntEnum

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

SERVICE_NAME = "grpc.health.v1.Health"
# Health of the event loop alone: whoever restarts processes asks for this name, because a drained
# process is not ready and must live on until its calls have ended.
LIVE = "live"

Context = grpc.aio.ServicerContext[StringValue, Int32Value]


class Status(IntEnum):
    """HealthCheckResponse.ServingStatus of health.proto."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3  # Watch says it; Check ends NOT_FOUND


class Health:
    """The status of each name; "" is the whole process."""

    def __init__(self) -> None:
        self._states: dict[str, Status] = {}
        self._changed = asyncio.Event()

    def set(self, status: Status, *names: str) -> None:
        """From now on `names` have this status; watchers hear it."""
        self._states.update(dict.fromkeys(names, status))
        self._changed.set()
        self._changed = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it there, before the server starts."""
        codec = (StringValue.FromString, Int32Value.SerializeToString)
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, *codec),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, *codec),
        }
        handler = grpc.method_handlers_generic_handler(SERVICE_NAME, methods)
        server.add_generic_rpc_handlers((handler,))

    async def _check(self, request: StringValue, context: Context) -> Int32Value:
        status = self._states.get(request.value)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Int32Value(value=status)

    async def _watch(self, request: StringValue, _context: Context) -> AsyncIterator[Int32Value]:
        told = None
        while True:
            changed = self._changed
            status = self._states.get(request.value, Status.SERVICE_UNKNOWN)
            if status is not told:
                told = status
                yield Int32Value(value=status)
            await changed.wait()
