"""The operator's API of a transceiver (`TransceiverAdmin` in admin.proto)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import grpc
import structlog

from fleet.admin.answers import Context, calls_page, deadline_of, no_such_call, refuse, why_of
from fleet.admin.operator import BadKeys, key_ids, key_ring, who
from fleet.errors import StoreUnavailable
from fleet.limits.call_limits import CallLimits
from fleet.limits.ledger import Usage
from fleet.limits.rules import Limits, check_subject
from transceiver.call.snapshot import CallSnapshot
from transceiver.moves.moves import NoTarget
from transceiver.moves.outgoing import Outcome
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire.keys import KeyRing

SERVICE_NAME = "trunkline.v1.TransceiverAdmin"

_NOT_MOVED = {
    Outcome.REFUSED_NO_ROOM: (grpc.StatusCode.RESOURCE_EXHAUSTED, "no node has room for it"),
    Outcome.REFUSED_STATE: (
        grpc.StatusCode.FAILED_PRECONDITION,
        "the call cannot move now; the log says why",
    ),
    Outcome.TIMED_OUT: (grpc.StatusCode.ABORTED, "the node did not answer in time; say it again"),
    Outcome.ABORTED: (grpc.StatusCode.ABORTED, "the call had to speak meanwhile; say it again"),
    Outcome.TAKEN_BACK: (grpc.StatusCode.ABORTED, "the node did not go on with it; it came back"),
    Outcome.IN_DOUBT: (grpc.StatusCode.DATA_LOSS, "the node took it and is not heard of any more"),
}

log = structlog.get_logger(__name__)


class AdminEngine(Protocol):
    """What the admin API needs of the engine."""

    def calls(self) -> Sequence[object]:
        """Live calls."""

    def snapshots(self) -> Sequence[CallSnapshot]:
        """Live calls at this moment, oldest first."""

    def snapshot(self, call_id: str) -> CallSnapshot | None:
        """The live call of that id at this moment."""

    def dismiss(self, call_id: str, reason: str) -> bool:
        """End a call after its caller was told; False when there is none."""

    def rotate(self, token_keys: KeyRing | None, trunk_keys: KeyRing | None) -> None:
        """Other keys from now on; None leaves a ring as it is."""

    @property
    def key_rings(self) -> tuple[KeyRing, KeyRing]:
        """The rings of route tokens and of the trunk."""


class AdminMoves(Protocol):
    """What the admin API needs of moves."""

    async def move(self, call_id: str, wanted: str = "") -> tuple[Outcome, str]:
        """Move a call; the outcome, and the node that was asked last.

        Raises KeyError, NoTarget and StoreUnavailable.
        """


class AdminNode(Protocol):
    """What the admin API needs of the node."""

    async def drain(self, deadline_s: float | None) -> None:
        """Take no new calls; None means no deadline."""

    async def undrain(self) -> None:
        """Take new calls again."""


class TransceiverAdmin(admin_pb2_grpc.TransceiverAdminServicer):
    """The servicer."""

    def __init__(
        self,
        engine: AdminEngine,
        node: AdminNode,
        limits: CallLimits,
        moves: AdminMoves,
        acted: Callable[[str, str, str, str], None] = lambda *_: None,
    ) -> None:
        self._moves = moves
        self._engine = engine
        self._acted = acted  # for the record of a call: its id, who, what, why
        self._node = node
        self._limits = limits

    async def ListCalls(  # noqa: N802 - gRPC's name
        self, request: admin_pb2.ListCallsRequest, context: Context
    ) -> admin_pb2.ListCallsResponse:
        """Live calls, oldest first. INVALID_ARGUMENT for a bad page size or token."""
        page = await calls_page(self._engine.snapshots(), request, context)
        return admin_pb2.ListCallsResponse(
            calls=map(_call, page.calls), next_page_token=page.next_token, total=page.total
        )

    async def GetCall(  # noqa: N802
        self, request: admin_pb2.GetCallRequest, context: Context
    ) -> admin_pb2.Call:
        """One call. NOT_FOUND when it is not live."""
        snapshot = self._engine.snapshot(request.call_id)
        if snapshot is None:
            await no_such_call(context)
        return _call(snapshot)

    async def EndCall(  # noqa: N802
        self, request: admin_pb2.EndCallRequest, context: Context
    ) -> admin_pb2.EndCallResponse:
        """Tell the caller, end the call and log why. NOT_FOUND when it is not live."""
        reason = await why_of(request.why, context)
        self._acted(request.call_id, str(who(context.peer())), "end_call", reason)
        if not self._engine.dismiss(request.call_id, "operator"):
            await no_such_call(context)
        log.info(
            "call_ended_by_operator",
            call_id=request.call_id,
            who=who(context.peer()),
            why=reason,
        )
        return admin_pb2.EndCallResponse()

    async def MoveCall(  # noqa: N802
        self, request: admin_pb2.MoveCallRequest, context: Context
    ) -> admin_pb2.MoveCallResponse:
        """Move a call to another transceiver; the codes are in admin.proto."""
        reason = await why_of(request.why, context)
        began_s = time.monotonic()
        try:
            outcome, node = await self._moves.move(request.call_id, request.node)
        except KeyError:
            await no_such_call(context)
        except NoTarget as error:
            await refuse(context, grpc.StatusCode.NOT_FOUND, str(error))
        except StoreUnavailable as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
        log.info(
            "call_move_asked",
            call_id=request.call_id,
            who=who(context.peer()),
            why=reason,
            outcome=outcome.value,
        )
        if outcome is not Outcome.MOVED:
            await refuse(context, *_NOT_MOVED[outcome])
        took_ms = (time.monotonic() - began_s) * 1000
        return admin_pb2.MoveCallResponse(node=node, took_ms=took_ms)

    async def Drain(  # noqa: N802
        self, request: admin_pb2.DrainRequest, context: Context
    ) -> admin_pb2.DrainResponse:
        """Take no new calls from now on, or take that back; says how many are live."""
        deadline_s = await deadline_of(request.deadline_s, context)
        reason = await why_of(request.why, context)
        calls = len(self._engine.calls())
        event = "drain_undone" if request.undo else "drain_asked"
        log.info(
            event,
            who=who(context.peer()),
            why=reason,
            calls=calls,
            deadline_s=request.deadline_s,
        )
        if request.undo:
            await self._node.undrain()
        else:
            await self._node.drain(deadline_s or None)
        return admin_pb2.DrainResponse(calls=calls)

    async def RotateKeys(  # noqa: N802
        self, request: admin_pb2.RotateKeysRequest, context: Context
    ) -> admin_pb2.RotateKeysResponse:
        """Other keys from now on; INVALID_ARGUMENT for text that is no key ring."""
        reason = await why_of(request.why, context)
        try:
            tokens = _ring(request.token_keys, "token_keys")
            trunks = _ring(request.trunk_keys, "trunk_keys")
        except BadKeys as error:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._engine.rotate(tokens, trunks)
        token_ids, trunk_ids = map(key_ids, self._engine.key_rings)
        log.info(
            "keys_rotated",
            who=who(context.peer()),
            why=reason,
            token_key_ids=token_ids,
            trunk_key_ids=trunk_ids,
        )
        return admin_pb2.RotateKeysResponse(token_key_ids=token_ids, trunk_key_ids=trunk_ids)

    async def ListLimits(  # noqa: N802
        self, request: admin_pb2.ListLimitsRequest, context: Context
    ) -> admin_pb2.ListLimitsResponse:
        """Limits and usage of the fleet. UNAVAILABLE when the store does not answer."""
        try:
            usage = {used.subject: used for used in await self._limits.usage()}
        except StoreUnavailable as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
        subjects = sorted({*usage, *self._limits.rules.rules})
        return admin_pb2.ListLimitsResponse(
            subjects=[self._subject(subject, usage.get(subject)) for subject in subjects],
            alone=self._limits.alone,
        )

    async def ChangeLimits(  # noqa: N802
        self, request: admin_pb2.ChangeLimitsRequest, context: Context
    ) -> admin_pb2.ChangeLimitsResponse:
        """Other limits for a key or a model, in the whole fleet."""
        reason = await why_of(request.why, context)
        try:
            subject = check_subject(request.subject)
            limits = Limits.parse(request.limits) if request.limits else None
            before = self._limits.rules.limits_of(subject)
            await self._limits.change(subject, limits)
        except ValueError as error:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StoreUnavailable as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))
        log.info(
            "limits_set",
            who=who(context.peer()),
            why=reason,
            subject=subject,
            limits=str(limits) if limits else "as in the settings",
            limits_before=str(before),
        )
        return admin_pb2.ChangeLimitsResponse(limits_before=str(before))

    def _subject(self, subject: str, used: Usage | None) -> admin_pb2.SubjectLimits:
        limits = self._limits.rules.limits_of(subject)
        return admin_pb2.SubjectLimits(
            subject=subject,
            calls=limits.calls,
            rate=limits.rate,
            tokens=limits.tokens,
            changed=subject in self._limits.changed,
            live_calls=used.calls if used else 0,
            used_tokens=used.tokens if used else 0,
        )


def _ring(text: str, name: str) -> KeyRing | None:
    return key_ring(text, name) if text else None


def _call(snapshot: CallSnapshot) -> admin_pb2.Call:
    return admin_pb2.Call(**asdict(snapshot))
