"""The manifests' own commands and environments, started on this machine, carry calls."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from launcher import Stack, StackSettings
from loadtest import sound
from loadtest.callers.dtls import Identity
from loadtest.callers.light_caller import LightCaller
from loadtest.callers.opus_packets import encode
from loadtest.target import Target
from tests.k8s.loopback_cluster import LoopbackCluster
from tests.k8s.manifests import Manifests, labels_of_pods, pod_of, port_number, selects
from tests.k8s.test_monitoring import exported, queries, selectors
from tests.k8s.test_settings import pod_metrics
from tests.transceiver.offers import real_offer

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


def url_of(cluster: LoopbackCluster, transceiver: int) -> str:
    """Where one Pod takes offers."""
    pod = cluster.pods_of("transceiver")[transceiver]
    (container,) = pod_of(pod.workload)["containers"]
    return f"http://{pod.ip}:{port_number(container, 'http')}"


async def place_call(cluster: LoopbackCluster, transceiver: int) -> float:
    """Call one transceiver, hear what was said, hang up; milliseconds to the first sound."""
    url = url_of(cluster, transceiver)
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


async def test_any_pod_answers_for_a_call(cluster: LoopbackCluster) -> None:
    """A server joins the call of one Pod by way of the other, says something that the backend sends
    back, and ends it there; the side band's end is the call's."""
    one, other = (url_of(cluster, number) for number in (0, 1))
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        offer = {"Content-Type": "application/sdp"}
        async with http.post(f"{one}/whip", data=real_offer(), headers=offer) as answer:
            assert answer.status == 201
            call_id = answer.headers["Location"].rpartition("/")[2]
        async with http.ws_connect(f"{other}/v1/realtime?call_id={call_id}") as side:
            await side.send_str('{"type":"response.create"}')
            assert await side.receive_str(timeout=CALL_TIMEOUT_S) == '{"type":"response.create"}'
            async with http.delete(f"{other}/whip/{call_id}") as ended:
                assert ended.status == 200
            assert (await side.receive(CALL_TIMEOUT_S)).type is aiohttp.WSMsgType.CLOSE
            assert side.close_code == aiohttp.WSCloseCode.OK
        async with http.delete(f"{one}/whip/{call_id}") as again:
            assert again.status == 404


async def scraped(cluster: LoopbackCluster, session: aiohttp.ClientSession) -> set[str]:
    """The names of all samples behind the PodMonitors."""
    names: set[str] = set()
    for monitor in Manifests("overlays/production").of_kind("PodMonitor"):
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for pod in cluster.pods:
            if selects(monitor["spec"]["selector"], labels_of_pods(pod.workload)):
                (container,) = pod_of(pod.workload)["containers"]
                port = port_number(container, endpoint["port"])
                async with session.get(f"http://{pod.ip}:{port}{endpoint['path']}") as response:
                    names |= exported(await response.text())
    return names


async def test_every_metric_that_is_asked_for_is_exported(cluster: LoopbackCluster) -> None:
    """Dashboards, alerts and autoscalers name what Prometheus finds in running Pods."""
    async with aiohttp.ClientSession() as session:
        there = await scraped(cluster, session)
    asked = {selector.name for query in queries() for selector in selectors(query)}
    asked |= pod_metrics(Manifests("overlays/production")).keys()
    assert len(asked) > 20
    assert asked - there == set()


async def test_living_is_told_from_being_ready(cluster: LoopbackCluster) -> None:
    """The name that liveness probes ask for is SERVING in every process of ours."""
    for pod in cluster.pods:
        (container,) = pod_of(pod.workload)["containers"]
        if probe := container["livenessProbe"].get("grpc"):
            async with grpc.aio.insecure_channel(f"{pod.ip}:{probe['port']}") as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                request = health_pb2.HealthCheckRequest(service=probe["service"])
                answer = await check(request, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
