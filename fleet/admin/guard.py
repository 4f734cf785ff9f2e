"""Checks and logs every call of an admin port: who calls, and whether they may.

    call ─▶ identify ─▶ role enough for the method? ─▶ read ─▶ logged if it acts ─▶ method

What a method needs stands in the proto file: NO_SIDE_EFFECTS may be called by viewers. A request is
read after its caller is known, and here, not by gRPC, whose way to say that it cannot be read is a
traceback. Whatever raises in a method is the end of that call: INTERNAL, one line in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
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

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # generic for type checkers alone
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]
    Read = Callable[[bytes], Any]


counts: Counter[str] = Counter(admin_calls_denied=0, admin_calls_unreadable=0, admin_calls_failed=0)
"""What was refused or failed on the admin ports of this process, by counter name."""


class AdminGuard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not at run time
    """The interceptor."""

    def __init__(self, access: AdminAccess) -> None:
        self._access = access

    async def intercept_service(  # type: ignore[override]
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, with the guard in front of it."""
        handler = await continuation(details)
        return None if handler is None else guarded(handler, details.method, self)

    async def admit(self, method: str, context: Context) -> Operator | None:
        """Who is calling, None where nobody asks; or abort UNAUTHENTICATED or PERMISSION_DENIED."""
        if method.startswith(_OPEN_TO_ALL):
            return None
        try:
            operator = self._access.identify(_caller(context))
        except Denied as denied:
            await self._refuse(context, method, grpc.StatusCode.UNAUTHENTICATED, str(denied))
        if not may(operator.role, method):
            rule = f"{_short(method)} needs the role operator"
            await self._refuse(context, method, grpc.StatusCode.PERMISSION_DENIED, rule)
        operator_now.set(operator)
        return operator

    async def read(self, method: str, data: bytes, context: Context, read: Read) -> Any:
        """The request; or abort INVALID_ARGUMENT."""
        try:
            return read(data)
        except Exception:
            counts["admin_calls_unreadable"] += 1
            log.warning("admin_unreadable", method=_short(method), who=who(context.peer()))
            rule = f"the request is no {_short(method)} message"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)

    async def fail(self, method: str, context: Context, error: Exception) -> None:
        """End a call in which something raised."""
        counts["admin_calls_failed"] += 1
        log.exception("admin_failed", method=_short(method), who=who(context.peer()))
        detail = f"{_short(method)} failed ({type(error).__name__}); the log has more"
        with suppress(grpc.aio.UsageError):  # the call is over by now
            await refuse(context, grpc.StatusCode.INTERNAL, detail)

    async def _refuse(
        self, context: Context, method: str, status: grpc.StatusCode, rule: str
    ) -> NoReturn:
        counts["admin_calls_denied"] += 1
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


def guarded(handler: Handler, method: str, guard: AdminGuard) -> Handler:
    """The handler with `guard` in front of it, to which gRPC hands requests as bytes."""
    write = handler.response_serializer
    if not handler.request_streaming and not handler.response_streaming:
        answer = _one_answer(handler, method, guard)
        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=write)
    if not handler.response_streaming:  # a method of a kind that nobody here serves
        raise NotImplementedError(f"{method} takes a stream and answers once")
    answers = _answers(handler, method, guard)
    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(answers, response_serializer=write)
    return grpc.unary_stream_rpc_method_handler(answers, response_serializer=write)


def _one_answer(
    handler: Handler, method: str, guard: AdminGuard
) -> Callable[[Any, Any], Awaitable[Any]]:
    inner: Any = handler.unary_unary
    read: Any = handler.request_deserializer

    async def answer(data: bytes, context: Any) -> Any:
        try:
            operator = await guard.admit(method, context)
            request = await guard.read(method, data, context, read)
            _log_action(method, operator, request)
            return await inner(request, context)
        except grpc.aio.BaseError:  # aborted, or whoever asked is gone
            raise
        except Exception as error:
            await guard.fail(method, context, error)

    return answer


def _answers(
    handler: Handler, method: str, guard: AdminGuard
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    inner: Any = handler.stream_stream or handler.unary_stream
    read: Any = handler.request_deserializer

    async def requests(stream: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for data in stream:
            yield await guard.read(method, data, context, read)

    async def answers(data: Any, context: Any) -> AsyncIterator[Any]:
        try:
            operator = await guard.admit(method, context)
            if handler.request_streaming:
                request: Any = requests(data, context)
            else:
                request = await guard.read(method, data, context, read)
            _log_action(method, operator, request)
            answer = inner(request, context)
            if isawaitable(answer):  # a method that writes its answers itself
                await answer
                return
            async for item in answer:
                yield item
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await guard.fail(method, context, error)

    return answers


def _caller(context: Context) -> Caller:
    metadata = dict(context.invocation_metadata() or ())
    pem = list((context.auth_context() or {}).get("x509_pem_cert") or [b""])
    return Caller(
        host=host_of(context.peer()),
        token=bearer(str(metadata.get("authorization", ""))),
        certificate=read_operator(pem[0]),
    )


def _log_action(method: str, operator: Operator | None, request: object) -> None:
    if operator is None or not needs_operator(method):
        return
    reason = str(getattr(request, "why", ""))
    shown = why(reason) if len(reason) <= MAX_WHY_CHARS else redact_text(reason[:MAX_WHY_CHARS])
    log.info("operator_action", method=_short(method), who=operator.name, why=shown)


def _short(method: str) -> str:
    return method.strip("/").rpartition(".")[2]
