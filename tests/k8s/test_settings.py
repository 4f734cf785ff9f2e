"""Manifests and code agree: variables, ports, probes, who may reach whom, and how an end goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from backends.settings import BackendSettings, EchoSettings
from fleet.settings import ProcessSettings
from fleet.usage import variable
from relay.settings import RelaySettings
from tests.k8s.kubelet import Started
from tests.k8s.loopback_cluster import LoopbackCluster
from tests.k8s.manifests import (
    ROOT,
    Manifests,
    Object,
    labels_of_pods,
    name_of,
    overlays,
    pod_of,
    port_number,
    selects,
)
from transceiver.engine.capacity import LATE_S
from transceiver.metrics import GAUGES
from transceiver.pod.leaving import GOODBYE_S
from transceiver.settings import TransceiverSettings
from trunkline.backend import leaving
from trunkline.backend.roster import CANCEL_PATIENCE_S
from trunkline.backend.server import SERVICE
from trunkline.process.health import LIVE

SETTINGS: dict[str, type[ProcessSettings]] = {
    "relay": RelaySettings,
    "transceiver": TransceiverSettings,
    "backend": EchoSettings,
}
COMMANDS = {
    "relay": ["python", "-m", "relay"],
    "transceiver": ["python", "-m", "transceiver"],
    "backend": ["python", "-m", "backends.echo"],
}
POD_IPS = {"overlays/ipv6": "2001:db8::7"}
HPA_TOLERANCE = 1.1  # the autoscaler of Kubernetes does nothing within a tenth of its target
# What ending takes beside waiting for calls: gRPC and HTTP goodbyes, Redis, the interpreter.
ENDING_S = 5


def started(overlay: str, path: Path) -> Iterator[tuple[Started, ProcessSettings]]:
    """Our containers with the settings their processes would read."""
    cluster = LoopbackCluster(Manifests(overlay), path, pod_ip=POD_IPS.get(overlay, "10.1.2.3"))
    for container in cluster.started():
        if container.name in SETTINGS:
            yield container, SETTINGS[container.name](**fields_of(container))


def fields_of(container: Started) -> dict[str, Any]:
    """The variables of a container as fields of its settings; raises for one that is none."""
    settings = SETTINGS[container.name]
    fields = {variable(settings, name): name for name in settings.model_fields}
    ours = {k: v for k, v in container.environment.items() if k.startswith("TRUNKLINE_")}
    assert set(ours) <= set(fields), f"{container.name}: no such settings"
    return {fields[name]: value for name, value in ours.items()}


@pytest.mark.parametrize("overlay", overlays())
def test_every_variable_is_a_setting_and_every_value_good(overlay: str, tmp_path: Path) -> None:
    """Names, references and notation, with nothing of this machine's environment mixed in."""
    found = {container.name for container, _ in started(overlay, tmp_path)}
    assert found == set(SETTINGS)


@pytest.mark.parametrize("overlay", overlays())
def test_no_reference_is_left_over(overlay: str, tmp_path: Path) -> None:
    """Each $(NAME) stands below what it names, or the process would be given it as it is."""
    cluster = LoopbackCluster(Manifests(overlay), tmp_path, pod_ip="10.1.2.3")
    for container in cluster.started():
        values = [*container.environment.values(), *container.command]
        assert not [value for value in values if "$(" in value], container.pod


@pytest.mark.parametrize("overlay", overlays())
def test_commands_are_the_processes(overlay: str) -> None:
    """Each container runs its module."""
    for _, container in Manifests(overlay).containers():
        if container["name"] in COMMANDS:
            assert container["command"] == COMMANDS[container["name"]]


def listening(settings: ProcessSettings) -> dict[str, tuple[int, str]]:
    """The ports a process binds, by the names that the manifests give them."""
    match settings:
        case RelaySettings():
            first = settings.relay_trunk_port
            trunk = {f"trunk-{n}": (first + n, "UDP") for n in range(settings.relay_workers)}
            return {
                "public": (settings.relay_port, "UDP"),
                "admin": (settings.relay_admin.port, "TCP"),
                "metrics": (settings.relay_metrics.port, "TCP"),
                **trunk,
            }
        case TransceiverSettings():
            return {
                "http": (settings.transceiver_http.port, "TCP"),
                "admin": (settings.transceiver_admin.port, "TCP"),
                "trunk": (settings.transceiver_trunk.port, "UDP"),
            }
        case EchoSettings():
            return {
                "model": (settings.backend_listen.port, "TCP"),
                "admin": (settings.backend_admin.port, "TCP"),
            }
    raise AssertionError(settings)


@pytest.mark.parametrize("overlay", overlays())
def test_ports_are_the_ones_bound(overlay: str, tmp_path: Path) -> None:
    """The container's ports are those of its settings: none missing, none too many."""
    for container, settings in started(overlay, tmp_path):
        ports = {
            p["name"]: (p["containerPort"], p.get("protocol", "TCP"))
            for p in container.container["ports"]
        }
        assert ports == listening(settings), container.name


@pytest.mark.parametrize("overlay", overlays())
def test_probes_ask_where_health_is_answered(overlay: str, tmp_path: Path) -> None:
    """Ready is the process's own word; alive is not, or a drained Pod would be killed."""
    for container, settings in started(overlay, tmp_path):
        port = listening(settings)["model" if container.name == "backend" else "admin"][0]
        alive = {"port": port, "service": LIVE}
        assert container.container["readinessProbe"]["grpc"] == {"port": port}
        assert container.container["livenessProbe"]["grpc"] == alive
        assert container.container["startupProbe"]["grpc"] == alive
    assert SERVICE != LIVE


@pytest.mark.parametrize("overlay", overlays())
def test_addresses_others_use_are_the_pods_own(overlay: str, tmp_path: Path) -> None:
    """Trunk sockets are bound to the Pod's address, which the directory and relays then know."""
    for container, settings in started(overlay, tmp_path):
        if isinstance(settings, TransceiverSettings):
            assert settings.transceiver_trunk.host == container.pod_ip
            assert settings.transceiver_trunk_advertise is None
        if isinstance(settings, RelaySettings):
            assert settings.relay_trunk_host == container.pod_ip


@pytest.mark.parametrize("overlay", overlays())
def test_callers_are_told_the_relays_port(overlay: str, tmp_path: Path) -> None:
    """What answers name is what the load balancer or the node listens on."""
    manifests = Manifests(overlay)
    settings = {c.name: s for c, s in started(overlay, tmp_path)}
    relay, transceiver = settings["relay"], settings["transceiver"]
    assert isinstance(relay, RelaySettings)
    assert isinstance(transceiver, TransceiverSettings)
    advertised = transceiver.transceiver_relays
    if overlay == "overlays/hostnetwork":
        assert {address.port for address in advertised} == {relay.relay_port}
        return
    service = manifests.find("Service", "relay")["spec"]
    (port,) = service["ports"]
    assert (port["port"], port["protocol"]) == (advertised[0].port, "UDP")
    assert service["externalTrafficPolicy"] == "Local"
    if "loadBalancerIP" in service:
        assert service["loadBalancerIP"] == advertised[0].host


def container_behind(manifests: Manifests, selector: Object) -> Object:
    (workload,) = [w for w in manifests.workloads() if selects(selector, labels_of_pods(w))]
    (container,) = pod_of(workload)["containers"]
    return dict(container)


@pytest.mark.parametrize("overlay", overlays())
def test_services_lead_to_ports_that_are_there(overlay: str) -> None:
    """Each Service selects one workload, and its target is a port of it by name."""
    manifests = Manifests(overlay)
    for service in manifests.of_kind("Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        container = container_behind(manifests, selector)
        for port in service["spec"]["ports"]:
            assert port_number(container, port["targetPort"]) > 0


@pytest.mark.parametrize("overlay", overlays())
def test_stateful_sets_have_their_headless_service(overlay: str) -> None:
    """Pods have names, also before they are ready."""
    manifests = Manifests(overlay)
    for workload in manifests.of_kind("StatefulSet"):
        service = manifests.find("Service", workload["spec"]["serviceName"])["spec"]
        assert service["clusterIP"] == "None"
        assert selects({"matchLabels": service["selector"]}, labels_of_pods(workload))


@pytest.mark.parametrize("overlay", overlays())
def test_monitors_scrape_ports_that_are_there(overlay: str) -> None:
    """Each PodMonitor finds its Pods and their port."""
    manifests = Manifests(overlay)
    for monitor in manifests.of_kind("PodMonitor"):
        container = container_behind(manifests, monitor["spec"]["selector"])
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert port_number(container, endpoint["port"]) > 0
            assert endpoint["path"] == "/metrics"


@pytest.mark.parametrize("overlay", overlays())
def test_the_end_fits_into_the_grace_period(overlay: str, tmp_path: Path) -> None:
    """preStop, waiting for calls, and goodbyes are over before the kernel ends the process."""
    for container, settings in started(overlay, tmp_path):
        pre_stop_s = container.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed_s = pre_stop_s + waiting_s(settings) + ENDING_S
        assert pod_of(container.workload)["terminationGracePeriodSeconds"] >= needed_s


def waiting_s(settings: ProcessSettings) -> float:
    """How long a process may take from SIGTERM until its calls are over."""
    if isinstance(settings, TransceiverSettings):
        return settings.transceiver_drain_s + GOODBYE_S
    if isinstance(settings, BackendSettings):
        return settings.backend_drain_s + leaving.GOODBYE_S + CANCEL_PATIENCE_S
    return 0


def allowed(manifests: Manifests, target: str, protocol: str) -> dict[int, set[str]]:
    """Which workloads a NetworkPolicy lets in, by port."""
    doors: dict[int, set[str]] = {}
    for rule in manifests.find("NetworkPolicy", target)["spec"].get("ingress", []):
        names = {name for peer in rule.get("from", [{}]) for name in peers(manifests, peer)}
        for port in rule["ports"]:
            if port["protocol"] == protocol:
                for number in range(port["port"], port.get("endPort", port["port"]) + 1):
                    doors.setdefault(number, set()).update(names)
    return doors


def peers(manifests: Manifests, peer: Object) -> Iterator[str]:
    """Names of workloads, of namespaces in brackets, of networks; `anybody` for an empty peer."""
    if not peer:
        yield "anybody"
    if "namespaceSelector" in peer:
        selector = peer["namespaceSelector"]
        key = "kubernetes.io/metadata.name"
        names = [selector.get("matchLabels", {}).get(key)]
        names += [v for e in selector.get("matchExpressions", []) for v in e["values"]]
        yield from (f"[{name}]" for name in names if name)
    elif "podSelector" in peer:
        for workload in manifests.workloads():
            if selects(peer["podSelector"], labels_of_pods(workload)):
                yield name_of(workload)
    elif "ipBlock" in peer:
        yield peer["ipBlock"]["cidr"]


@pytest.mark.parametrize("overlay", overlays())
def test_who_may_reach_whom(overlay: str, tmp_path: Path) -> None:
    """The trunk is for relays and for transceivers that pass on what comes for a call that moved,
    the model port for transceivers, Redis for both, HTTP for ingress and for transceivers that
    pass requests on and move calls; and the ports are those of the settings."""
    manifests = Manifests(overlay)
    ports = {c.name: listening(s) for c, s in started(overlay, tmp_path)}
    host = overlay == "overlays/hostnetwork"
    relays = {"10.0.16.0/20"} if host else {"relay"}
    trunks = {ports["transceiver"]["trunk"][0]: relays | {"transceiver"}}
    assert allowed(manifests, "transceiver", "UDP") == trunks
    assert allowed(manifests, "transceiver", "TCP") == {
        ports["transceiver"]["http"][0]: {"[ingress]", "[monitoring]", "transceiver"}
    }
    assert allowed(manifests, "backend", "TCP") == {ports["backend"]["model"][0]: {"transceiver"}}
    assert allowed(manifests, "backend", "UDP") == {}
    assert {"relay", "transceiver"} | relays <= allowed(manifests, "redis", "TCP")[6379] | (
        {"relay"} if host else set()
    )
    if not host:
        trunk = {number for name, (number, _) in ports["relay"].items() if "trunk" in name}
        public = ports["relay"]["public"][0]
        doors: dict[int, set[str]] = {number: {"transceiver"} for number in trunk}
        assert allowed(manifests, "relay", "UDP") == {**doors, public: {"anybody"}}
        metrics = ports["relay"]["metrics"][0]
        assert allowed(manifests, "relay", "TCP") == {metrics: {"[monitoring]"}}


@pytest.mark.parametrize("overlay", overlays())
def test_what_is_let_in_is_let_out(overlay: str) -> None:
    """For each door between two of our parts there is a way out to it."""
    manifests = Manifests(overlay)
    ours = {name_of(w) for w in manifests.workloads()}
    policies = {name_of(p) for p in manifests.of_kind("NetworkPolicy")}
    for target in ours & policies:
        for protocol in ("TCP", "UDP"):
            for port, sources in allowed(manifests, target, protocol).items():
                for source in sources & ours & policies:
                    assert leaves(manifests, source, target, port, protocol), (source, target)


def leaves(manifests: Manifests, source: str, target: str, port: int, protocol: str) -> bool:
    """Whether the policy of `source` lets it speak to that port of `target`."""
    for rule in manifests.find("NetworkPolicy", source)["spec"].get("egress", []):
        named = {name for peer in rule["to"] for name in peers(manifests, peer)}
        if target in named and any(
            p["protocol"] == protocol and p["port"] <= port <= p.get("endPort", p["port"])
            for p in rule["ports"]
        ):
            return True
    return False


def test_autoscaling_is_below_the_bound(tmp_path: Path) -> None:
    """More Pods are asked for well before calls are refused or callers hear that it is late, and
    before the calls of one Pod would find no room at the others. None is asked for too early."""
    manifests = Manifests("overlays/production")
    settings = {c.name: s for c, s in started("overlays/production", tmp_path)}
    transceiver = settings["transceiver"]
    assert isinstance(transceiver, TransceiverSettings)
    wanted = pod_metrics(manifests)
    prefix = "trunkline_transceiver_"
    assert wanted.keys() == {prefix + "calls", prefix + "loop_lateness_seconds"}
    fewest = manifests.find("HorizontalPodAutoscaler", "transceiver")["spec"]["minReplicas"]
    held = transceiver.transceiver_max_calls * (fewest - 1) / fewest
    assert 0.8 * held < int(wanted[prefix + "calls"]) * HPA_TOLERANCE <= held
    assert wanted[prefix + "loop_lateness_seconds"] == f"{LATE_S * 1000 / 2:g}m"
    assert {name.removeprefix(prefix) for name in wanted} <= GAUGES.keys()


def test_the_adapter_offers_what_the_autoscaler_asks_for() -> None:
    """Its rule's query finds every metric of a Pod that an autoscaler names."""
    text = (ROOT / "k8s/components/autoscaling/prometheus-adapter.yaml").read_text()
    (rule,) = yaml.safe_load(text)["rules"]["custom"]
    (name,) = re.findall(r'__name__=~"([^"]+)"', rule["seriesQuery"])
    for metric in pod_metrics(Manifests("overlays/production")):
        assert re.fullmatch(name, metric)


def pod_metrics(manifests: Manifests) -> dict[str, str]:
    """Metrics of Pods that autoscalers look at, with the average they aim for."""
    metrics = [
        metric["pods"]
        for scaler in manifests.of_kind("HorizontalPodAutoscaler")
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "Pods"
    ]
    return {m["metric"]["name"]: m["target"]["averageValue"] for m in metrics}


def test_autoscaled_workloads_do_not_say_how_many(tmp_path: Path) -> None:
    """Else every `kubectl apply` would undo what the autoscaler did."""
    manifests = Manifests("overlays/production")
    for autoscaler in manifests.of_kind("HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        assert "replicas" not in manifests.find(target["kind"], target["name"])["spec"]
