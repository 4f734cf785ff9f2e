"""Checks and logs every call of an admin port: who calls, and whether they may.

    call ─▶ identify ─▶ role enough for the method? ─▶ logged if it acts ─▶ method

What a method needs stands in the proto file: NO_SIDE_EFFECTS may be called by viewers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from grpc_health.v1 import health

from fleet.admin.access import AdminAccess, Caller, Denied, Operator, Role, bearer
from fleet.admin.answers import Context, refuse
from fleet.admin.operator import MAX_WHY_CHARS, host_of, operator_now, who, why
from fleet.admin.tls import read_operator
from fleet.redact import redact_text

_OPEN_TO_ALL = f"/{health.SERVICE_NAME}/"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/"

log = structlog.get_logger()

if TYPE_CHECKING:  # generic for type checkers alone
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class AdminGuard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not at run time
    """The interceptor. `denied` counts calls that were not let in."""

    def __init__(self, access: AdminAccess) -> None:
        self._access = access
        self.denied = 0

    async def intercept_service(  # type: ignore[override]
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, with the guard in front of it."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_OPEN_TO_ALL):
            return handler
        return _guarded(handler, details.method, self)

    async def admit(self, method: str, request: object, context: Context) -> None:
        """Return when the caller may; abort UNAUTHENTICATED or PERMISSION_DENIED otherwise."""
        try:
            operator = self._access.identify(_caller(context))
        except Denied as denied:
            await self._refuse(context, method, grpc.StatusCode.UNAUTHENTICATED, str(denied))
        if not may(operator.role, method):
            rule = f"{_short(method)} needs the role operator"
            await self._refuse(context, method, grpc.StatusCode.PERMISSION_DENIED, rule)
        operator_now.set(operator)
        if needs_operator(method):
            _log_action(method, operator, request)

    async def _refuse(
        self, context: Context, method: str, status: grpc.StatusCode, rule: str
    ) -> NoReturn:
        self.denied += 1
        log.warning("admin_denied", method=_short(method), who=who(context.peer()), reason=rule)
        await refuse(context, status, rule)


def may(role: Role, method: str) -> bool:
    """Whether a role is enough for a method (`/package.Service/Method`)."""
    return role is Role.OPERATOR or not needs_operator(method)


def needs_operator(method: str) -> bool:
    """Whether a method acts; one that nobody knows does."""
    if method.startswith(_REFLECTION):
        return False
    service, _, name = method.strip("/").partition("/")
    try:
        options = (
            descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name).GetOptions()
        )
    except (KeyError, AttributeError):
        return True
    return bool(options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS)


def _guarded(handler: Handler, method: str, guard: AdminGuard) -> Handler:
    codec = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if not handler.request_streaming and not handler.response_streaming:
        inner = handler.unary_unary

        async def answer(request: Any, context: Any) -> Any:
            await guard.admit(method, request, context)
            return await inner(request, context)  # type: ignore[misc]

        return grpc.unary_unary_rpc_method_handler(answer, **codec)
    stream = handler.stream_stream if handler.request_streaming else handler.unary_stream
    if stream is None:  # a method of a kind that nobody here serves must not slip past
        raise NotImplementedError(f"{method} takes a stream and answers once")

    async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
        await guard.admit(method, request, context)
        async for item in stream(request, context):  # type: ignore[attr-defined]
            yield item

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(answers, **codec)
    return grpc.unary_stream_rpc_method_handler(answers, **codec)


def _caller(context: Context) -> Caller:
    metadata = dict(context.invocation_metadata() or ())
    pem = list((context.auth_context() or {}).get("x509_pem_cert") or [b""])
    return Caller(
        host=host_of(context.peer()),
        token=bearer(str(metadata.get("authorization", ""))),
        certificate=read_operator(pem[0]),
    )


def _log_action(method: str, operator: Operator, request: object) -> None:
    reason = str(getattr(request, "why", ""))
    shown = why(reason) if len(reason) <= MAX_WHY_CHARS else redact_text(reason[:MAX_WHY_CHARS])
    log.info("operator_action", method=_short(method), who=operator.name, why=shown)


def _short(method: str) -> str:
    return method.strip("/").rpartition(".")[2]
