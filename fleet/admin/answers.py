"""What all admin services have in common: refusals, reasons and deadlines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import grpc
import grpc.aio

from fleet.admin.call_pages import AnyCall, BadPage, Page, page_of
from fleet.admin.operator import BadDeadline, BadWhy, deadline, why
from trunkline.v1 import admin_pb2

# The context's type has the request and the response as parameters, which nothing here depends on.
Context = grpc.aio.ServicerContext[Any, Any]


async def refuse(context: Context, status: grpc.StatusCode, rule: str) -> NoReturn:
    """End a request with that status, and with a sentence for the operator."""
    await context.abort(status, rule)
    raise AssertionError("abort raises")


async def why_of(text: str, context: Context) -> str:
    """The operator's `why`, fit for the log; INVALID_ARGUMENT for one that is too long."""
    try:
        return why(text)
    except BadWhy as error:
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def deadline_of(seconds: int, context: Context) -> float:
    """The seconds of a request's `deadline_s`, 0 for none; INVALID_ARGUMENT for more than a day."""
    try:
        return deadline(seconds)
    except BadDeadline as error:
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def calls_page(
    calls: Iterable[AnyCall], request: admin_pb2.ListCallsRequest, context: Context
) -> Page[AnyCall]:
    """The page of live calls that is asked for; INVALID_ARGUMENT for a bad size or token."""
    try:
        return page_of(calls, request.page_token, request.page_size)
    except BadPage as error:
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def no_such_call(context: Context) -> NoReturn:
    """NOT_FOUND, for an id that no live call has."""
    await refuse(context, grpc.StatusCode.NOT_FOUND, "no live call has that id")
