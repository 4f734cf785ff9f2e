"""Does a scenario's faults to a stand."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Any

import grpc.aio

from launcher import NotRunningError, StartupError
from loadtest.scenario_runs.scenario_file import Fault
from loadtest.scenario_runs.verdict import InjectedFault
from loadtest.stand import Stand
from trunkline.v1 import admin_pb2, admin_pb2_grpc

ADMIN_TIMEOUT_S = 10.0
WHY = "loadtest"


async def inflict(stand: Stand, fault: Fault, start_s: float) -> InjectedFault:
    """Do one fault now. Returns when it is done and the part, if it was down, is up again.

    Raises StartupError when the part is not there, does not answer or does not come back.
    """
    part = await stand.resolve(fault.part)
    at_s = time.time()
    try:
        note = await _do(stand, fault, part)
    except (grpc.aio.AioRpcError, NotRunningError, ProcessLookupError) as error:
        raise StartupError(f"{fault.name}: {_reason(error)}") from None
    took_s = time.time() - at_s
    await _come_back(stand, fault, part)
    return InjectedFault(fault.name, part, at_s - start_s, took_s, note, fault.calls_lost_max)


async def _do(stand: Stand, fault: Fault, part: str) -> str:
    match fault.do:
        case "kill":
            await stand.kill(part, stay_down=fault.stays_down_s is not None)
        case "stop":
            await stand.stop(part)
        case "kill_worker":
            os.kill(await worker_pid(stand, part), signal.SIGKILL)
        case "drain":
            return await _drain(stand, part, fault.deadline_s)
    return ""


async def _come_back(stand: Stand, fault: Fault, part: str) -> None:
    if fault.do in ("kill_worker", "drain") or fault.stays_down_s is None:
        if fault.do == "stop":
            await stand.start(part)
        return
    await asyncio.sleep(fault.stays_down_s)
    await stand.start(part)


async def worker_pid(stand: Stand, part: str) -> int:
    """A worker of a relay that moves packets. Raises grpc.aio.AioRpcError."""
    async with grpc.aio.insecure_channel(stand.admin(part)) as channel:
        stub = admin_pb2_grpc.RelayAdminStub(channel)  # type: ignore[no-untyped-call]
        stats = await stub.Stats(admin_pb2.StatsRequest(), timeout=ADMIN_TIMEOUT_S)
    return next(int(worker.pid) for worker in stats.workers if worker.pid)


async def _drain(stand: Stand, part: str, deadline_s: int) -> str:
    async with grpc.aio.insecure_channel(stand.admin(part)) as channel:
        if part.startswith("relay"):
            relay = admin_pb2_grpc.RelayAdminStub(channel)  # type: ignore[no-untyped-call]
            flows = await relay.Drain(admin_pb2.RelayDrainRequest(why=WHY), timeout=ADMIN_TIMEOUT_S)
            return f"{flows.flows} flows"
        kinds: dict[str, Any] = {
            "transceiver": admin_pb2_grpc.TransceiverAdminStub,
            "backend": admin_pb2_grpc.BackendAdminStub,
        }
        calls = await kinds[part.rpartition("-")[0]](channel).Drain(
            admin_pb2.DrainRequest(deadline_s=deadline_s), timeout=ADMIN_TIMEOUT_S
        )
        return f"{calls.calls} calls"


def _reason(error: Exception) -> str:
    with suppress(AttributeError):
        return str(error.code().name.lower())  # type: ignore[attr-defined]
    return str(error) or "has no process"
