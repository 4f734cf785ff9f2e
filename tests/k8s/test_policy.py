"""What no manifest may do, whichever overlay."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.k8s.manifests import (
    ROOT,
    Manifests,
    Object,
    labels_of_pods,
    name_of,
    overlays,
    pod_of,
    selects,
)

ON_THE_HOST = {"overlays/hostnetwork"}
_VERSION = re.compile(r"\d+\.\d+\.\d+[\w.-]*|.+@sha256:[0-9a-f]{64}")
_SECRET_VALUES = re.compile(r"[0-9a-f]{64}|://[^$@/]*:[^$@/]+@|\btl-[\w-]{20,}")


def complaints(manifests: Manifests) -> list[str]:
    """One line for each rule that is broken."""
    found = [f"{name_of(w)}: {rule}" for w in manifests.workloads() for rule in _pod_rules(w)]
    found += [f"{c['name']}: {rule}" for _, c in manifests.containers() for rule in _rules(c)]
    return found


def _pod_rules(workload: Object) -> Iterator[str]:
    pod = pod_of(workload)
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or not security.get("runAsUser"):
        yield "may run as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        yield "mounts a path of the node"
    if pod.get("hostPID") or pod.get("hostIPC") or pod.get("hostNetwork"):
        yield "shares a namespace with the node"
    if pod.get("automountServiceAccountToken") is not False:
        yield "carries a token for the API"
    # Else a Service by the name of trunkline-relay sets TRUNKLINE_RELAY_PORT to a URL.
    if pod.get("enableServiceLinks") is not False:
        yield "has variables of Services in its environment"


def _rules(container: Object) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield "may gain privileges"
    if not security.get("readOnlyRootFilesystem"):
        yield "may write to its image"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if not _VERSION.fullmatch(container["image"].partition(":")[2]):
        yield "has an image without a version"
    resources = container.get("resources", {})
    for bound in ("requests", "limits"):
        if set(resources.get(bound, {})) != {"cpu", "memory"}:
            yield f"has no {bound}"
    if not {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container):
        yield "is not probed"


@pytest.mark.parametrize("overlay", overlays())
def test_no_rule_is_broken(overlay: str) -> None:
    """No root, no path or namespace of the node, no floating image, no unbounded container."""
    expected = ["relay: shares a namespace with the node"] if overlay in ON_THE_HOST else []
    assert complaints(Manifests(overlay)) == expected


def test_the_rules_find_what_they_look_for() -> None:
    """A manifest that does everything wrong breaks every rule."""
    bad = Manifests("base")
    pod = pod_of(bad.find("Deployment", "relay"))
    container = {"name": "relay", "image": "relay:latest", "resources": {}}
    spec = {"containers": [container], "hostPID": True, "volumes": [{"hostPath": {"path": "/"}}]}
    workload = {**bad.find("Deployment", "relay"), "spec": {"template": {"spec": spec}}}
    bad.objects = [workload]
    assert pod != spec
    assert len(complaints(bad)) == 6 + 7


@pytest.mark.parametrize("overlay", overlays())
def test_no_secret_is_written_down(overlay: str) -> None:
    """Manifests name Secrets and hold none: no key, no password in a URL, no API key."""
    manifests = Manifests(overlay)
    assert manifests.of_kind("Secret") == []
    for thing in manifests.of_kind("ConfigMap", "Deployment", "StatefulSet"):
        if "dashboards" not in name_of(thing):
            assert not _SECRET_VALUES.search(str(thing)), name_of(thing)


@pytest.mark.parametrize("overlay", overlays())
def test_every_pod_may_be_disrupted_one_at_a_time(overlay: str) -> None:
    """Each workload has one budget, which lets a node be drained."""
    manifests = Manifests(overlay)
    for workload in manifests.workloads():
        labels = labels_of_pods(workload)
        budgets = [
            budget["spec"]["maxUnavailable"]
            for budget in manifests.of_kind("PodDisruptionBudget")
            if selects(budget["spec"]["selector"], labels)
        ]
        assert budgets == [1], name_of(workload)


@pytest.mark.parametrize("overlay", overlays())
def test_every_pod_stands_behind_the_default_denial(overlay: str) -> None:
    """Nothing is reachable, and nothing reaches anything, that no policy names."""
    denial = Manifests(overlay).find("NetworkPolicy", "deny-all")["spec"]
    assert denial == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", overlays())
def test_namespaces_are_restricted(overlay: str) -> None:
    """Pod security is enforced by the namespace too, and loosened only for the host's network."""
    (namespace,) = Manifests(overlay).of_kind("Namespace")
    labels = namespace["metadata"]["labels"]
    level = "privileged" if overlay in ON_THE_HOST else "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == level
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_images_are_of_this_version() -> None:
    """Manifests and package are released together."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    images = {c["image"] for _, c in Manifests("base").containers()}
    ours = {image for image in images if "/trunkline/" in image}
    assert {image.partition(":")[2] for image in ours} == {version[1]}
    assert len(ours) == 3


def test_one_version_of_each_image() -> None:
    """An image that stands in two places has one tag."""
    for overlay in overlays():
        images = {c["image"] for _, c in Manifests(overlay).containers()}
        assert len({image.partition(":")[0] for image in images}) == len(images)
