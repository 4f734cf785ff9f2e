"""Servers and packages are current: none with faults that are known, each bounded and pinned."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from launcher.redis_server import binary
from supply.images import Image, files, named

ROOT = Path(__file__).parents[2]
# Faults that give whoever may write a script, or restores a value, the server: CVE-2025-49844,
# -46817, -46818, -46819 (Lua), CVE-2026-23479, -25243, -23631. The first version of each line
# without them; a line that is not here has them, as far as we know.
SOUND = {
    "valkey": {(8, 1): "8.1.7", (9, 1): "9.1.0"},
    "redis": {(8, 6): "8.6.3"},
}
IMAGES = sorted({image for path in files() for image in named(path.read_text())}, key=str)


def is_sound(server: str, text: str) -> bool:
    """Whether a server's version has none of the faults above."""
    version = Version(text)
    lines = SOUND[server]
    since = lines.get((version.major, version.minor))
    newer = (version.major, version.minor) > max(lines)
    return newer or (since is not None and version >= Version(since))


@pytest.mark.parametrize(
    ("server", "version", "sound"),
    [
        ("redis", "6.2.5", False),
        ("redis", "7.2.5", False),
        ("redis", "7.2.10", False),
        ("redis", "8.2.1", False),
        ("redis", "8.6.2", False),
        ("redis", "8.6.3", True),
        ("valkey", "8.0.6", False),
        ("valkey", "8.1.6", False),
        ("valkey", "8.1.7", True),
        ("valkey", "9.1.2", True),
        ("valkey", "10.0.0", True),
    ],
)
def test_old_servers_are_told_from_sound_ones(server: str, version: str, sound: bool) -> None:
    """The rule refuses what had the faults, by line."""
    assert is_sound(server, version) is sound


def test_no_image_has_known_faults() -> None:
    """The servers of the manifests are sound; every image has a whole version, never `latest`."""
    servers = [image for image in IMAGES if image.name.rpartition("/")[2] in SOUND]
    assert servers
    for image in servers:
        assert is_sound(image.name.rpartition("/")[2], image.tag.partition("-")[0]), image
    for image in IMAGES:
        assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.-]+)?", image.tag), image


def test_one_server_is_named_by_one_version() -> None:
    """Redis and its sentinels are the same image."""
    names = [(image.host, image.name) for image in IMAGES]
    assert len(set(names)) == len(names)


def test_images_without_a_tag_would_be_seen() -> None:
    """The pattern finds what it is for, ours excepted."""
    text = "image: docker.io/library/redis\nimage: ghcr.io/trunkline/r\nARG PYTHON=a.b/c:1.2.3-x"
    assert list(named(text)) == [
        Image("docker.io", "library/redis", ""),
        Image("a.b", "c", "1.2.3-x"),
    ]


def test_the_launchers_server_is_sound() -> None:
    """What `make run` and all tests start says its own version."""
    said = subprocess.run([str(binary()), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"(?P<server>Redis|Valkey) server v=(?P<version>[0-9.]+)", said.stdout)
    assert found, said.stdout
    assert is_sound(found["server"].lower(), found["version"])


def requirements() -> Iterator[Requirement]:
    """What both distributions ask for, extras and all, but for each other."""
    for path in ("pyproject.toml", "library/pyproject.toml"):
        project = tomllib.loads((ROOT / path).read_text())["project"]
        groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
        for text in (text for group in groups for text in group):
            if not text.startswith("trunkline-server["):
                yield Requirement(text)


def pins() -> dict[str, Version]:
    """constraints.txt by name."""
    lines = [line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonicalize_name(name): Version(version) for name, _, version in lines}


def test_every_dependency_is_bounded_both_ways() -> None:
    """A release that breaks us is not installed; one too old to work is refused."""
    for requirement in requirements():
        operators = {one.operator for one in requirement.specifier}
        assert {">=", "<"} <= operators, requirement


def test_every_dependency_is_pinned_to_what_it_allows() -> None:
    """constraints.txt has a version of each that its bounds take."""
    pinned = pins()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        if name != "trunkline":
            assert pinned[name] in requirement.specifier, requirement
