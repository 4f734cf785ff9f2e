"""Calls find another Pod when theirs leaves or is lost: there is one, in time, on another host."""

from __future__ import annotations

import pytest

from tests.k8s.manifests import Manifests, Object, overlays, pod_of

HOST = "kubernetes.io/hostname"
ALONE = {"overlays/dev"}  # one of each, on purpose
SCALE_DOWN_S = 60


def transceivers(overlay: str) -> Object:
    return Manifests(overlay).find("Deployment", "transceiver")


@pytest.mark.parametrize("overlay", overlays())
def test_the_new_pod_is_there_before_the_old_one_leaves(overlay: str) -> None:
    """A rolling upgrade has room for the calls of each Pod that goes."""
    strategy = transceivers(overlay)["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("overlay", sorted({*overlays()} - ALONE))
def test_somebody_is_left(overlay: str) -> None:
    """There is more than one, with and without an autoscaler."""
    manifests = Manifests(overlay)
    fewest = [
        scaler["spec"]["minReplicas"]
        for scaler in manifests.of_kind("HorizontalPodAutoscaler")
        if scaler["spec"]["scaleTargetRef"]["name"] == "transceiver"
    ] or [transceivers(overlay)["spec"]["replicas"]]
    assert fewest[0] >= 2


@pytest.mark.parametrize("overlay", overlays())
def test_transceivers_are_spread_over_hosts(overlay: str) -> None:
    """Those of one revision among themselves: while an upgrade is under way there are two."""
    (over_hosts,) = over(overlay, HOST)
    assert over_hosts["maxSkew"] == 1
    assert over_hosts["matchLabelKeys"] == ["pod-template-hash"]


def test_in_production_two_hosts_are_a_must() -> None:
    """Else all could be on one host, and nobody would be left when it is lost."""
    (over_hosts,) = over("overlays/production", HOST)
    assert over_hosts["whenUnsatisfiable"] == "DoNotSchedule"
    assert over_hosts["minDomains"] >= 2


def over(overlay: str, key: str) -> list[Object]:
    constraints = pod_of(transceivers(overlay))["topologySpreadConstraints"]
    return [found for found in constraints if found["topologyKey"] == key]


def test_a_scale_down_takes_one_pod_and_waits() -> None:
    """Its calls have moved long before the next one goes."""
    scaler = Manifests("overlays/production").find("HorizontalPodAutoscaler", "transceiver")
    (policy,) = scaler["spec"]["behavior"]["scaleDown"]["policies"]
    assert (policy["type"], policy["value"]) == ("Pods", 1)
    assert policy["periodSeconds"] >= SCALE_DOWN_S
