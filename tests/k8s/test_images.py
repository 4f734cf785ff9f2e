"""The Dockerfile and the manifests agree, and images carry what their process needs and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.k8s.manifests import ROOT, Manifests, Object, pod_of

LINES = (ROOT / "docker/Dockerfile").read_text().splitlines()
PROCESSES = ["relay", "transceiver", "backend"]


def stage(name: str) -> list[str]:
    """The instructions of a stage, without its FROM."""
    start = next(i for i, line in enumerate(LINES) if re.fullmatch(rf"FROM .+ AS {name}", line))
    rest = LINES[start + 1 :]
    end = next((i for i, line in enumerate(rest) if line.startswith("FROM ")), len(rest))
    return [line for line in rest[:end] if line and not line.startswith("#")]


def argument(name: str, word: str) -> str:
    (line,) = [line for line in stage(name) if line.startswith(f"{word} ")]
    return line.removeprefix(f"{word} ")


def container(name: str) -> Object:
    for _, found in Manifests("base").containers():
        if found["name"] == name:
            return found
    raise AssertionError(f"no container {name}")


@pytest.mark.parametrize("process", PROCESSES)
def test_the_image_runs_what_the_manifest_runs(process: str) -> None:
    """The same command, and the port numbers of the manifest."""
    assert json.loads(argument(process, "ENTRYPOINT")) == container(process)["command"]
    exposed = set(argument(process, "EXPOSE").split())
    ports = {
        f"{p['containerPort']}/udp" if p.get("protocol") == "UDP" else str(p["containerPort"])
        for p in container(process)["ports"]
        if not re.fullmatch(r"trunk-\d", p["name"])  # as many as there are workers
    }
    assert exposed == ports


@pytest.mark.parametrize("process", PROCESSES)
def test_an_image_has_the_packages_of_its_extra(process: str) -> None:
    """Each process's own extra, with pinned versions, and nothing compiled."""
    install = argument(f"build-{process}", "RUN")
    assert f"./library '.[{process}]'" in install
    assert "-c constraints.txt" in install
    assert "--only-binary :all:" in install
    assert re.search(rf"^{process} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_images_are_pinned_and_not_root() -> None:
    """The base image has a full version, and everything runs as the user of the manifests."""
    (base,) = [line for line in LINES if line.startswith("ARG PYTHON=")]
    assert re.search(r"python:3\.11\.\d+-slim-[a-z]+$", base)
    froms = {line.split()[1] for line in LINES if line.startswith("FROM ")}
    assert froms == {"${PYTHON}", "build", "runtime"}
    users = {
        f"{s['runAsUser']}:{s['runAsGroup']}"
        for w in Manifests("base").workloads()
        if (s := pod_of(w)["securityContext"])["runAsUser"] != 999  # the user of Redis' image
    }
    assert {argument("runtime", "USER")} == users


def test_the_wheels_packages_are_let_through() -> None:
    """The build stage gets every package of the wheel, and no secret, history or environment."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    listed = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"^packages = \[\n((?:    \".+\",\n)+)\]", listed, re.MULTILINE)
    roots = {Path(package).parts[0] for package in re.findall(r'"(.+)"', packages)}
    assert len(roots) > 8
    assert not (
        roots | {"library", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    ) & set(ignored)
    assert ".*" in ignored
