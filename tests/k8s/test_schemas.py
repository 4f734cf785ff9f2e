"""Every object of every overlay is one that Kubernetes takes, field by field."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from k8s.new_secrets import new_secrets
from tests.k8s.manifests import Manifests, Object, canonical, name_of, overlays

VERSIONS = ["1.35", "1.36", "1.37"]  # the latest three that there are schemas for
SCHEMAS = Path(__file__).parent / "schemas"
# What is no part of Kubernetes is checked against the fields written down here.
OWN_SCHEMAS = {
    ("monitoring.coreos.com/v1", kind): json.loads(
        (SCHEMAS / f"monitoring.coreos.com_v1_{kind}.json").read_text()
    )
    for kind in ("PodMonitor", "PrometheusRule")
}


def validate(thing: Object, version: str) -> None:
    """Raise what is wrong with the object."""
    own = OWN_SCHEMAS.get((thing["apiVersion"], thing["kind"]))
    if own:
        jsonschema.validate(thing, own)
    else:
        kubernetes_validate.validate(thing, version, strict=True)


def test_the_versions_are_the_latest_three() -> None:
    """When the validator learns a new one, it is checked too."""
    known = [v.rpartition(".")[0] for v in kubernetes_validate.utils.all_versions()]
    assert list(dict.fromkeys(known))[-3:] == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", overlays())
def test_every_object_is_valid(overlay: str, version: str) -> None:
    """No unknown field, no missing one, no wrong type."""
    manifests = Manifests(overlay)
    assert manifests.objects
    for thing in manifests.objects:
        validate(thing, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_new_secrets_are_valid(version: str) -> None:
    """What `python -m k8s.new_secrets` prints can be created."""
    for secret in new_secrets("trunkline")["items"]:
        validate(secret, version)


@pytest.mark.parametrize("kind", ["Deployment", "PodMonitor"])
def test_an_unknown_field_is_an_error(kind: str) -> None:
    """The check finds a misspelt field, in Kubernetes' kinds and in others."""
    wrong = json.loads(canonical(Manifests("overlays/production").of_kind(kind)[0]))
    wrong["spec"]["selektor"] = {}
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong, VERSIONS[-1])


@pytest.mark.parametrize("overlay", overlays())
def test_nothing_is_there_twice(overlay: str) -> None:
    """One object of a kind and name."""
    found = [(o["kind"], name_of(o)) for o in Manifests(overlay).objects]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("overlay", overlays())
def test_everything_is_in_the_namespace_that_comes_with_it(overlay: str) -> None:
    """Nothing lands in whatever namespace the operator's shell is in."""
    manifests = Manifests(overlay)
    (namespace,) = manifests.of_kind("Namespace")
    places = {o["metadata"].get("namespace") for o in manifests.objects if o is not namespace}
    assert places == {name_of(namespace)}
