"""The manifests' own commands and environments, started on this machine, carry calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from launcher import Stack, StackSettings
from loadtest import sound
from loadtest.callers.light_caller import LightCaller
from loadtest.callers.light_dtls import Identity
from loadtest.callers.opus_packets import encode
from loadtest.target import Target
from tests.k8s.loopback_cluster import LoopbackCluster
from tests.k8s.manifests import Manifests, port_number

PACKETS = 5
CALL_TIMEOUT_S = 20.0
SLOW_MACHINE = StackSettings(ready_timeout_s=60, stop_timeout_s=15)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LoopbackCluster]:
    """The base, with as many Pods as it says, until the module's last test."""
    cluster = LoopbackCluster(Manifests("base"), tmp_path_factory.mktemp("volumes"))
    async with Stack(SLOW_MACHINE, parts=cluster.parts()):
        yield cluster


async def place_call(cluster: LoopbackCluster, transceiver: int) -> float:
    """Call one transceiver, hear what was said, hang up; milliseconds to the first sound."""
    pod = cluster.pods_of("transceiver")[transceiver]
    container = pod.workload["spec"]["template"]["spec"]["containers"][0]
    url = f"http://{pod.ip}:{port_number(container, 'http')}"
    packets = encode(sound.tone(0.02 * PACKETS, frequency_hz=300, peak=8000))[:PACKETS]
    async with aiohttp.ClientSession() as session:
        caller = LightCaller(
            session, Target(url, cluster.api_key), Identity.make(), packets, echoes=PACKETS
        )
        await caller.place(CALL_TIMEOUT_S)
    assert caller.setup_ms is not None
    return caller.setup_ms


@pytest.mark.parametrize("transceiver", [0, 1])
async def test_a_call_through_every_transceiver(cluster: LoopbackCluster, transceiver: int) -> None:
    """ICE through the relay's one port, DTLS, and Opus there and back."""
    assert await place_call(cluster, transceiver) > 0
