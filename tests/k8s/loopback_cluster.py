"""Manifests as processes on this machine: every Pod has a loopback address of its own.

What differs from a cluster, and nothing else does: names are replaced by the addresses that
cluster DNS and Services would give, the load balancer's address by a relay's, "every address" by
the Pod's own, paths of volumes by directories, and the programs by this machine's.
"""

from __future__ import annotations

import random
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from k8s.new_secrets import new_secrets
from launcher.part import Part, Probe
from launcher.probes import grpc_serving, redis_answers
from launcher.redis_server import binary
from tests.k8s.kubelet import Kubelet, Started
from tests.k8s.manifests import (
    Manifests,
    Object,
    labels_of_pods,
    name_of,
    pod_of,
    port_number,
    selects,
)

PROGRAMS = {"python": sys.executable, "valkey-server": str(binary()), "sh": "/bin/sh"}
REDIS = {"redis", "sentinel"}  # containers
RELAY_HOST = "TRUNKLINE_RELAY_HOST"
RELAYS = "TRUNKLINE_TRANSCEIVER_RELAYS"
# What a process of ours may find in its environment beside what the manifest says.
IMAGE_ENVIRONMENT = {"PYTHONUNBUFFERED": "1"}
IMAGE_PATH = "/usr/local/bin:/usr/bin:/bin"
_REDIS_CLI = Path(__file__).with_name("redis_cli.py")
_EVERY_ADDRESS = re.compile(r"^(?:0\.0\.0\.0|\[::\])(?=:\d)")
_HOST = re.compile(r"(?<![\w.-])([a-z][a-z0-9.-]*):(\d+)")
_POD_NAME = re.compile(r"(?<![\w.-])([a-z0-9-]+)\.([a-z]+-nodes)(?![\w.:-])")


@dataclass(frozen=True)
class Pod:
    """A Pod that runs, with its loopback address."""

    name: str
    ip: str
    workload: Object


class LoopbackCluster:
    """The Pods of some manifests and the processes of their containers.

    `replicas` overrides how many Pods a workload has. `directory` holds the volumes. A given
    `pod_ip` is every Pod's address: to look at settings, not to run.
    """

    def __init__(
        self,
        manifests: Manifests,
        directory: Path,
        replicas: Mapping[str, int] | None = None,
        pod_ip: str | None = None,
    ) -> None:
        listed = new_secrets("trunkline")["items"]
        self.secrets: dict[str, dict[str, str]] = {name_of(s): s["stringData"] for s in listed}
        self.manifests = manifests
        self.pods = list(_pods(manifests, replicas or {}, pod_ip))
        self._directory = directory
        self._kubelet = Kubelet(manifests, self.secrets)

    @property
    def api_key(self) -> str:
        return self.secrets["api-keys"]["api-keys"]

    def pods_of(self, workload: str) -> list[Pod]:
        return [pod for pod in self.pods if name_of(pod.workload) == workload]

    def started(self) -> Iterator[Started]:
        """Every container as its kubelet would start it."""
        for pod in self.pods:
            for container in pod_of(pod.workload)["containers"]:
                yield self._kubelet.start(pod.workload, container, pod.name, pod.ip)

    def parts(self) -> list[Part]:
        """For `launcher.Stack`: Redis first, as others end without it and would be restarted."""
        first = self.redis_parts()
        names = tuple(part.name for part in first)
        return [*first, *(replace(part, after=names) for part in self.other_parts())]

    def redis_parts(self) -> list[Part]:
        """Redis and what looks after it."""
        return [self._part(started) for started in self.started() if started.name in REDIS]

    def other_parts(self) -> list[Part]:
        """What needs Redis."""
        return [self._part(started) for started in self.started() if started.name not in REDIS]

    def settings_of(self, started: Started) -> dict[str, str]:
        """The variables of a container as its process gets them here."""
        values = {k: self._local(v, started) for k, v in started.environment.items()}
        if started.name == "relay":
            values.setdefault(RELAY_HOST, started.pod_ip)
        if RELAYS in values:
            relays = self.pods_of("relay")
            port = values[RELAYS].split(",")[0].rpartition(":")[2]
            values[RELAYS] = ",".join(f"{relay.ip}:{port}" for relay in relays)
        return values

    def _part(self, started: Started) -> Part:
        self._write_files(started)
        program, *arguments = started.command
        command = (PROGRAMS[program], *(self._local(word, started) for word in arguments))
        path = {"PATH": f"{self._programs()}:{IMAGE_PATH}"}
        environment = {**IMAGE_ENVIRONMENT, **path, **self.settings_of(started)}
        return Part(started.pod, command, _readiness(started), environment)

    def _programs(self) -> Path:
        """The programs of Redis' image, by the names that the manifests' scripts know."""
        folder = self._directory / "bin"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "valkey-server").symlink_to(PROGRAMS["valkey-server"])
            (folder / "valkey-cli").write_text(
                f'#!/bin/sh\nexec {sys.executable} {_REDIS_CLI} "$@"\n'
            )
            (folder / "valkey-cli").chmod(0o755)
        return folder

    def _local(self, text: str, started: Started) -> str:
        """Addresses and paths that only a cluster has, as this machine has them."""
        text = _EVERY_ADDRESS.sub(started.pod_ip, text)
        text = _HOST.sub(lambda m: self._resolve(m[1], int(m[2])) or m[0], text)
        text = _POD_NAME.sub(lambda m: self._address(m[1]) or m[0], text)
        for mount in started.directories:
            text = re.sub(rf"(?<![\w./]){re.escape(mount)}\b", self._volume(started, mount), text)
        return text

    def _volume(self, started: Started, mount: str) -> str:
        return str(self._directory / started.pod / mount.strip("/"))

    def _write_files(self, started: Started) -> None:
        for mount in started.directories:
            Path(self._volume(started, mount)).mkdir(parents=True, exist_ok=True)
        for path, text in started.files.items():
            folder, _, name = path.rpartition("/")
            target = Path(self._volume(started, folder)) / name
            target.write_text(self._local(text, started))

    def _resolve(self, host: str, port: int) -> str | None:
        """What a name and a port of a Service come to; None for no name of this cluster."""
        pod, _, rest = host.partition(".")
        for service in self.manifests.of_kind("Service"):
            name = name_of(service)
            if host == name or rest == name:
                chosen = self._behind(service, pod if rest else None)
                return f"{chosen.ip}:{_target_port(service, port, chosen)}"
        return None

    def _address(self, pod: str) -> str | None:
        return next((p.ip for p in self.pods if p.name == pod), None)

    def _behind(self, service: Object, pod: str | None) -> Pod:
        selector = {"matchLabels": service["spec"]["selector"]}
        ready = [p for p in self.pods if selects(selector, labels_of_pods(p.workload))]
        return next(p for p in ready if pod in (None, p.name))


def _target_port(service: Object, port: int, pod: Pod) -> int:
    (entry,) = [p for p in service["spec"]["ports"] if p["port"] == port]
    (container,) = pod_of(pod.workload)["containers"]
    return port_number(container, entry.get("targetPort", port))


def _readiness(started: Started) -> Probe:
    probe = started.container["readinessProbe"]
    if "grpc" in probe:
        assert "service" not in probe["grpc"]
        return grpc_serving(started.pod_ip, probe["grpc"]["port"])
    port = port_number(started.container, probe["tcpSocket"]["port"])
    return redis_answers(started.pod_ip, port)


def _pods(manifests: Manifests, replicas: Mapping[str, int], pod_ip: str | None) -> Iterator[Pod]:
    for workload in manifests.workloads():
        count = replicas.get(name_of(workload), workload["spec"].get("replicas", 1))
        for number in range(count):
            ip = pod_ip or free_loopback(workload)
            yield Pod(f"{name_of(workload)}-{number}", ip, workload)


def free_loopback(workload: Object) -> str:
    """A loopback address on which all ports of the Pod are free."""
    ports = [p for c in pod_of(workload)["containers"] for p in c.get("ports", [])]
    taken = ""
    for _ in range(20):
        host = f"127.{random.randint(1, 250)}.{random.randint(0, 250)}.{random.randint(2, 250)}"
        taken = _taken(host, ports)
        if not taken:
            return host
    raise AssertionError(f"something on this machine listens on every address, {taken}")


def _taken(host: str, ports: list[Object]) -> str:
    for port in ports:
        kind = socket.SOCK_DGRAM if port.get("protocol") == "UDP" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port["containerPort"]))
            except OSError:
                return f"port {port['containerPort']}"
    return ""
