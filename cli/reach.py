"""How the command line reaches the fleet: one transceiver knows the others, relays and backends are
named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio

from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc

ANSWER_TIMEOUT_S = 5.0
PAGE = 1000  # calls or flows asked for at once

Answer = TypeVar("Answer")


class CliError(Exception):
    """What went wrong and what to do, in one line for stderr."""


@dataclass(frozen=True)
class Reach:
    """Where the admin ports are and what opens them."""

    transceiver: Address
    relays: tuple[Address, ...]
    backends: tuple[Address, ...] = ()
    token: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @asynccontextmanager
    async def process(self, address: Address) -> AsyncIterator[Process]:
        """A connection to one process."""
        async with self._channel(address) as channel:
            yield Process(address, channel, self.token)

    def _channel(self, address: Address) -> grpc.aio.Channel:
        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        if self.ca is None:
            return grpc.aio.insecure_channel(str(address), options=options)
        credentials = grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.key.read_bytes() if self.key else None,
            self.certificate.read_bytes() if self.certificate else None,
        )
        return grpc.aio.secure_channel(str(address), credentials, options=options)


@dataclass(frozen=True)
class BackendView:
    """A backend as an operator sees it."""

    info: admin_pb2.Info
    calls: list[admin_pb2.BackendCall]
    draining: bool


class Process:
    """One process's admin API; every method raises CliError in the operator's words."""

    def __init__(self, address: Address, channel: grpc.aio.Channel, token: str = "") -> None:
        self.address = address
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        # The generated stubs have no types for asyncio.
        self._process: Any = admin_pb2_grpc.ProcessAdminStub(channel)  # type: ignore[no-untyped-call]
        self._transceiver: Any = admin_pb2_grpc.TransceiverAdminStub(channel)  # type: ignore[no-untyped-call]
        self._relay: Any = admin_pb2_grpc.RelayAdminStub(channel)  # type: ignore[no-untyped-call]
        self._backend: Any = admin_pb2_grpc.BackendAdminStub(channel)  # type: ignore[no-untyped-call]

    async def info(self) -> admin_pb2.Info:
        """Build, settings, clock."""
        answer: admin_pb2.Info
        answer = await self._ask(self._process.GetInfo, admin_pb2.GetInfoRequest())
        return answer

    async def nodes(self) -> list[admin_pb2.Node]:
        """The directory."""
        answer: admin_pb2.ListNodesResponse
        answer = await self._ask(self._process.ListNodes, admin_pb2.ListNodesRequest())
        return list(answer.nodes)

    async def set_log_level(self, level: str, why: str) -> admin_pb2.SetLogLevelResponse:
        """Log more or less."""
        request = admin_pb2.SetLogLevelRequest(level=level, why=why)
        answer: admin_pb2.SetLogLevelResponse
        answer = await self._ask(self._process.SetLogLevel, request)
        return answer

    async def events(self, prefix: str) -> AsyncIterator[admin_pb2.Event]:
        """The log, live."""
        watch = self._process.WatchEvents(
            admin_pb2.WatchEventsRequest(prefix=prefix), metadata=self._metadata
        )
        try:
            async for event in watch:
                yield event
        except grpc.aio.AioRpcError as error:
            raise self._said(error) from None

    async def calls(self) -> list[admin_pb2.Call]:
        """Every live call of a transceiver, oldest first."""
        calls: list[admin_pb2.Call] = []
        request = admin_pb2.ListCallsRequest(page_size=PAGE)
        while True:
            page = await self._ask(self._transceiver.ListCalls, request)
            calls += page.calls
            if not page.next_page_token:
                return calls
            request.page_token = page.next_page_token

    async def backend(self) -> BackendView:
        """A backend and every live call of it, oldest first."""
        info = await self.info()
        calls: list[admin_pb2.BackendCall] = []
        request = admin_pb2.ListCallsRequest(page_size=PAGE)
        while True:
            page = await self._ask(self._backend.ListCalls, request)
            calls += page.calls
            if not page.next_page_token:
                return BackendView(info, calls, page.draining)
            request.page_token = page.next_page_token

    async def call(self, call_id: str) -> admin_pb2.Call | None:
        """One call; None when it is not here."""
        request = admin_pb2.GetCallRequest(call_id=call_id)
        return await self._find(self._transceiver.GetCall, request)

    async def end_call(self, call_id: str, why: str) -> bool:
        """End a call; False when it is not here."""
        request = admin_pb2.EndCallRequest(call_id=call_id, why=why)
        return await self._find(self._transceiver.EndCall, request) is not None

    async def move_call(self, call_id: str, node: str, why: str) -> admin_pb2.MoveCallResponse:
        """Move a call to a node; empty: to one with room."""
        request = admin_pb2.MoveCallRequest(call_id=call_id, node=node, why=why)
        answer: admin_pb2.MoveCallResponse
        answer = await self._ask(self._transceiver.MoveCall, request)
        return answer

    async def drain(self, *, deadline_s: int, undo: bool, why: str) -> int:
        """Drain a transceiver or a backend, or take that back; its live calls."""
        stub = await self._bearer_of_calls()
        request = admin_pb2.DrainRequest(deadline_s=deadline_s, undo=undo, why=why)
        answer: admin_pb2.DrainResponse = await self._ask(stub.Drain, request)
        return answer.calls

    async def live_calls(self) -> int:
        """How many calls a transceiver or a backend has now."""
        stub = await self._bearer_of_calls()
        answer = await self._ask(stub.ListCalls, admin_pb2.ListCallsRequest(page_size=1))
        total: int = answer.total
        return total

    async def limits(self) -> admin_pb2.ListLimitsResponse:
        """Limits of the fleet and what is used of them."""
        answer: admin_pb2.ListLimitsResponse
        answer = await self._ask(self._transceiver.ListLimits, admin_pb2.ListLimitsRequest())
        return answer

    async def change_limits(self, subject: str, limits: str, why: str) -> str:
        """Other limits for a subject; those before."""
        request = admin_pb2.ChangeLimitsRequest(subject=subject, limits=limits, why=why)
        answer: admin_pb2.ChangeLimitsResponse
        answer = await self._ask(self._transceiver.ChangeLimits, request)
        return answer.limits_before

    async def stats(self) -> admin_pb2.StatsResponse:
        """Counters of a relay."""
        answer: admin_pb2.StatsResponse
        answer = await self._ask(self._relay.Stats, admin_pb2.StatsRequest())
        return answer

    async def flows(self, most: int) -> list[admin_pb2.Flow]:
        """The first `most` flows of a relay."""
        flows: list[admin_pb2.Flow] = []
        request = admin_pb2.ListFlowsRequest()
        while len(flows) < most:
            request.page_size = min(PAGE, most - len(flows))
            page = await self._ask(self._relay.ListFlows, request)
            flows += page.flows
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return flows

    async def rotate(self, request: admin_pb2.RotateKeysRequest) -> admin_pb2.RotateKeysResponse:
        """Other keys, of a relay or of a transceiver, whichever this is; an empty request changes
        nothing and says which there are."""
        info = await self.info()
        stub = self._relay if info.process == "relay" else self._transceiver
        answer: admin_pb2.RotateKeysResponse = await self._ask(stub.RotateKeys, request)
        return answer

    async def _bearer_of_calls(self) -> Any:
        info = await self.info()
        return self._backend if info.process == "backend" else self._transceiver

    async def _find(
        self, method: Callable[..., Awaitable[Answer]], request: object
    ) -> Answer | None:
        try:
            return await method(request, metadata=self._metadata, timeout=ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise self._said(error) from None

    async def _ask(self, method: Callable[..., Awaitable[Any]], request: object) -> Any:
        try:
            return await method(request, metadata=self._metadata, timeout=ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise self._said(error) from None

    def _said(self, error: grpc.aio.AioRpcError) -> CliError:
        match error.code():
            case grpc.StatusCode.UNAUTHENTICATED:
                cure = f"{error.details()}; give --token or TRUNKLINE_ADMIN_TOKEN"
            case grpc.StatusCode.UNAVAILABLE if "Redis" in (error.details() or ""):
                cure = str(error.details())
            case grpc.StatusCode.UNAVAILABLE:
                cure = "cannot be reached: is it up, is the address right, does it want --ca (TLS)?"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                cure = f"did not answer within {ANSWER_TIMEOUT_S:g} s"
            case grpc.StatusCode.UNIMPLEMENTED:
                cure = "is another kind of process, or of another version"
            case code:
                cure = f"{error.details()} ({code.name})"
        return CliError(f"{self.address}: {cure}")
