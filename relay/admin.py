"""RelayAdmin: what the workers count and which flows they hold, read from shared memory."""

from __future__ import annotations

import time

import grpc.aio

from fleet.directory import Directory
from fleet.redact import redact_network
from relay.counters import named
from relay.crew import Crew, Post
from relay.flows import FlowRow
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire.address import unpack_address

DEFAULT_PAGE = 100
MAX_PAGE = 1000
SERVICE_NAME = admin_pb2.DESCRIPTOR.services_by_name["RelayAdmin"].full_name


class RelayAdmin(admin_pb2_grpc.RelayAdminServicer):
    """The servicer. Reads only; never waits for a worker."""

    def __init__(self, crew: Crew, directory: Directory) -> None:
        self._crew = crew
        self._directory = directory

    async def Stats(  # noqa: N802  (gRPC's name)
        self,
        request: admin_pb2.StatsRequest,
        context: grpc.aio.ServicerContext[admin_pb2.StatsRequest, admin_pb2.StatsResponse],
    ) -> admin_pb2.StatsResponse:
        """Counters per worker and in sum."""
        workers = [_worker_stats(post) for post in self._crew.posts]
        total: dict[str, int] = {}
        for worker in workers:
            for name, value in worker.counters.items():
                total[name] = total.get(name, 0) + value
        return admin_pb2.StatsResponse(
            workers=workers, total=total, nodes=self._directory.live_count
        )

    async def ListFlows(  # noqa: N802
        self,
        request: admin_pb2.ListFlowsRequest,
        context: grpc.aio.ServicerContext[admin_pb2.ListFlowsRequest, admin_pb2.ListFlowsResponse],
    ) -> admin_pb2.ListFlowsResponse:
        """One page of flows; INVALID_ARGUMENT for a page size or token that is not ours."""
        size = request.page_size or DEFAULT_PAGE
        if size > MAX_PAGE:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"page_size is at most {MAX_PAGE}"
            )
        place = _place(request.page_token, len(self._crew.posts))
        if place is None:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "page_token is not one this relay gave out"
            )
            raise AssertionError("abort raises")
        return self._page(*place, size)

    def _page(self, worker: int, slot: int, size: int) -> admin_pb2.ListFlowsResponse:
        now_ms = int(time.monotonic() * 1000)
        page = admin_pb2.ListFlowsResponse()
        for post in self._crew.posts[worker:]:
            rows, go_on_from = post.memory.flows.rows(slot, size - len(page.flows), now_ms)
            page.flows.extend(_flow(post.number, row) for row in rows)
            if go_on_from is not None:
                page.next_page_token = f"{post.number}.{go_on_from}"
                break
            slot = 0
        return page


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
    )


def _flow(worker: int, row: FlowRow) -> admin_pb2.Flow:
    host, _ = unpack_address(row.address)
    return admin_pb2.Flow(
        worker=worker,
        client_network=redact_network(host),
        node=row.node,
        idle_s=row.idle_ms / 1000,
    )
