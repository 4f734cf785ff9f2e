"""RelayAdmin: operators look at a relay and act on it.

What is shown is read from the workers' shared memory; what is asked of them goes out as orders
(`relay.shared.orders`), and the answer waits for shared memory to say that they were carried out.
Everything that changes something is one line in the log: what, who, why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc.aio
import structlog

from fleet.admin.answers import Context, refuse, why_of
from fleet.admin.operator import BadKeys, key_ids, key_ring, who
from fleet.directory.directory import Directory
from fleet.redact import redact_network
from relay.shared.counters import named
from relay.shared.flows import FlowRow
from relay.shared.latency import Latency
from relay.shared.orders import Orders
from relay.shared.rates import Rates
from relay.shared.voice import MAX_WATCHED, WatchOrder
from relay.supervisor.crew import Crew
from relay.supervisor.gains import Gains
from relay.supervisor.post import Post
from relay.supervisor.watches import TooManyWatches, UnknownFlow, Watches, health_of
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire.address import unpack_address
from wire.keys import KeyRing

DEFAULT_PAGE = 100
MAX_PAGE = 1000
DEFAULT_INTERVAL_MS = 1000
MIN_INTERVAL_MS, MAX_INTERVAL_MS = 100, 60_000
MAX_WATCHERS = 8
ORDER_CHECKS = 600  # three seconds; a worker that hangs is replaced after two
_ORDER_CHECK_INTERVAL_S = 0.005
SERVICE_NAME = admin_pb2.DESCRIPTOR.services_by_name["RelayAdmin"].full_name

log = structlog.get_logger(__name__)


class RelayAdmin(admin_pb2_grpc.RelayAdminServicer):
    """The servicer. `draining` says whether new callers are unwanted."""

    def __init__(self, crew: Crew, directory: Directory) -> None:
        self.draining = False
        self._crew = crew
        self._directory = directory
        self._watches = Watches(crew)
        self._watchers = 0

    async def Stats(  # noqa: N802  (gRPC's name)
        self,
        request: admin_pb2.StatsRequest,
        context: Context,
    ) -> admin_pb2.StatsResponse:
        """Counters per worker and in sum."""
        workers = [_worker_stats(post) for post in self._crew.posts]
        total: dict[str, int] = {}
        for worker in workers:
            for name, value in worker.counters.items():
                total[name] = total.get(name, 0) + value
        total |= self._crew.counts()
        return admin_pb2.StatsResponse(
            workers=workers,
            total=total,
            nodes=self._directory.live_count,
            limits=_limits(self._crew.orders.rates),
            draining=self.draining,
            fenced_nodes=[owner.node for owner in self._crew.nodes.fenced_nodes()[:MAX_PAGE]],
        )

    async def ListFlows(  # noqa: N802
        self,
        request: admin_pb2.ListFlowsRequest,
        context: Context,
    ) -> admin_pb2.ListFlowsResponse:
        """One page of flows; INVALID_ARGUMENT for a page size or token that is not ours."""
        size = request.page_size or DEFAULT_PAGE
        if size > MAX_PAGE:
            rule = f"page_size is at most {MAX_PAGE}"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)
        place = _place(request.page_token, len(self._crew.posts))
        if place is None:
            rule = "page_token is not one this relay gave out"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)
        return self._page(*place, size)

    def _page(self, worker: int, slot: int, size: int) -> admin_pb2.ListFlowsResponse:
        now_ms = int(time.monotonic() * 1000)
        page = admin_pb2.ListFlowsResponse()
        for post in self._crew.posts[worker:]:
            rows, go_on_from = post.memory.flows.rows(slot, size - len(page.flows), now_ms)
            page.flows.extend(self._flow(post.number, row) for row in rows)
            if go_on_from is not None:
                page.next_page_token = f"{post.number}.{go_on_from}"
                break
            slot = 0
        return page

    def _flow(self, worker: int, row: FlowRow) -> admin_pb2.Flow:
        host, _ = unpack_address(row.address)
        return admin_pb2.Flow(
            worker=worker,
            client_network=redact_network(host),
            node=row.node,
            idle_s=row.idle_ms / 1000,
            flow_id=self._watches.flow_id(worker, row),
        )

    async def Drain(  # noqa: N802
        self, request: admin_pb2.RelayDrainRequest, context: Context
    ) -> admin_pb2.RelayDrainResponse:
        """Say NOT_SERVING from now on, or take that back; touches no packet."""
        reason = await why_of(request.why, context)
        self.draining = not request.undo
        flows = sum(len(post.memory.flows) for post in self._crew.posts)
        event = "relay_drain_undone" if request.undo else "relay_drain_asked"
        log.info(event, who=who(context.peer()), why=reason, flows=flows)
        return admin_pb2.RelayDrainResponse(flows=flows)

    async def SetLimits(  # noqa: N802
        self, request: admin_pb2.SetLimitsRequest, context: Context
    ) -> admin_pb2.Limits:
        """Other limits in every worker; INVALID_ARGUMENT for a rate out of range."""
        reason = await why_of(request.why, context)
        try:
            rates = _changed(self._crew.orders.rates, request)
        except ValueError as error:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        log.info("limits_set", who=who(context.peer()), why=reason, **vars(rates))
        await self._order(replace(self._crew.orders, rates=rates), context)
        return _limits(rates)

    async def RotateKeys(  # noqa: N802
        self, request: admin_pb2.RotateKeysRequest, context: Context
    ) -> admin_pb2.RotateKeysResponse:
        """Other keys in every worker; INVALID_ARGUMENT for text that is no key ring."""
        reason = await why_of(request.why, context)
        orders = self._crew.orders
        try:
            tokens = key_ring(request.token_keys or orders.token_keys, "token_keys")
            trunks = key_ring(request.trunk_keys or orders.trunk_keys, "trunk_keys")
        except BadKeys as error:
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        ids = {"token_key_ids": key_ids(tokens), "trunk_key_ids": key_ids(trunks)}
        log.info("keys_rotated", who=who(context.peer()), why=reason, **ids)
        await self._order(_with_keys(orders, tokens, trunks), context)
        return admin_pb2.RotateKeysResponse(**ids)

    async def Watch(  # noqa: N802
        self, request: admin_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[admin_pb2.WatchResponse]:
        """What the counters gain, until the caller has seen enough."""
        interval_ms = request.interval_ms or DEFAULT_INTERVAL_MS
        if not MIN_INTERVAL_MS <= interval_ms <= MAX_INTERVAL_MS:
            rule = f"interval_ms is {MIN_INTERVAL_MS} to {MAX_INTERVAL_MS}"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)
        if self._watchers >= MAX_WATCHERS:
            rule = f"{MAX_WATCHERS} are watching already"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, rule)
        self._watchers += 1
        try:
            gains = Gains()
            while True:
                yield self._gained(gains)
                await asyncio.sleep(interval_ms / 1000)
        finally:
            self._watchers -= 1

    async def WatchFlows(  # noqa: N802
        self, request: admin_pb2.WatchFlowsRequest, context: Context
    ) -> admin_pb2.WatchFlowsResponse:
        """Voice health of some flows, and watch them for another minute."""
        if not 1 <= len(request.flow_ids) <= MAX_WATCHED:
            rule = f"flow_ids has 1 to {MAX_WATCHED} ids"
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, rule)
        try:
            followed = self._watches.follow(request.flow_ids, _now_ms())
        except UnknownFlow as error:
            await refuse(context, grpc.StatusCode.NOT_FOUND, str(error))
        except TooManyWatches as error:
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        log.info("flows_watched", who=who(context.peer()), flows=len(followed))
        await self._order(self._crew.orders, context)
        now_ms = _now_ms()
        return admin_pb2.WatchFlowsResponse(
            flows=[
                _health(flow_id, post, order, now_ms)
                for flow_id, (post, order) in zip(request.flow_ids, followed, strict=True)
            ]
        )

    def _gained(self, gains: Gains) -> admin_pb2.WatchResponse:
        posts, now_ms = self._crew.posts, _now_ms()
        elapsed_ms, gained = gains.since_last([named(p.memory.counts) for p in posts], now_ms)
        return admin_pb2.WatchResponse(
            elapsed_ms=elapsed_ms,
            gained=gained,
            flows=sum(len(post.memory.flows) for post in posts),
            workers_up=sum(post.process is not None for post in posts),
            draining=self.draining,
        )

    async def _order(self, orders: Orders, context: Context) -> None:
        """Give orders and wait until every worker has carried them out."""
        number = self._crew.orders.number + 1
        self._crew.give(replace(orders, number=number))
        for _ in range(ORDER_CHECKS):  # shared memory wakes nobody up
            if self._crew.obeyed(number):
                return
            await asyncio.sleep(_ORDER_CHECK_INTERVAL_S)
        rule = "a worker has not followed yet; it will, or is replaced by one that does"
        await refuse(context, grpc.StatusCode.UNAVAILABLE, rule)


def _with_keys(orders: Orders, tokens: KeyRing, trunks: KeyRing) -> Orders:
    return replace(orders, token_keys=tokens.export(), trunk_keys=trunks.export())


def _place(token: str, workers: int) -> tuple[int, int] | None:
    """Worker and slot of a page token; None for one that is not ours."""
    if not token:
        return 0, 0
    worker, dot, slot = token.partition(".")
    if not (dot and worker.isdecimal() and slot.isdecimal() and len(token) < 32):
        return None
    return (int(worker), int(slot)) if int(worker) < workers else None


def _worker_stats(post: Post) -> admin_pb2.WorkerStats:
    return admin_pb2.WorkerStats(
        worker=post.number,
        pid=post.process.pid if post.process else 0,
        cpu=post.cpu,
        restarts=post.restarts,
        flows=len(post.memory.flows),
        counters=named(post.memory.counts),
        up_latency=_latency(post.memory.telemetry.up),
        down_latency=_latency(post.memory.telemetry.down),
        claims=len(post.memory.claims.by_ufrag),
    )


def _latency(histogram: Latency) -> admin_pb2.Latency:
    return admin_pb2.Latency(counts=histogram.counts(), sum_s=histogram.sum_s)


def _limits(rates: Rates) -> admin_pb2.Limits:
    return admin_pb2.Limits(strangers=rates.strangers, checks=rates.checks, packets=rates.packets)


def _changed(rates: Rates, request: admin_pb2.SetLimitsRequest) -> Rates:
    """The rates with those that the request has; raises ValueError for one out of range."""
    return Rates(
        strangers=request.strangers if request.HasField("strangers") else rates.strangers,
        checks=request.checks if request.HasField("checks") else rates.checks,
        packets=request.packets if request.HasField("packets") else rates.packets,
    )


def _health(flow_id: str, post: Post, order: WatchOrder, now_ms: int) -> admin_pb2.FlowHealth:
    health = health_of(post, order)
    if health is None:
        return admin_pb2.FlowHealth(flow_id=flow_id)
    last_ms = health.last_ms or health.since_ms
    return admin_pb2.FlowHealth(
        flow_id=flow_id,
        watched_s=(now_ms - health.since_ms) / 1000,
        packets=health.packets,
        lost=health.lost,
        jitter_ms=health.jitter_us / 1000,
        longest_gap_ms=health.longest_gap_ms,
        silent_s=max(0, now_ms - last_ms) / 1000,
    )


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
