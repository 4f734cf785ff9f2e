"""`python -m supply.images`: which images of others are named here, and by which digest.

    python -m supply.images          a line for each; exit status 1 when one has no digest
    python -m supply.images --pin    asks the registries and writes the digests into the files

A tag can be moved to another image, a digest cannot. Digests are never written by hand: where no
registry can be reached, `--pin` says so and changes nothing.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
OURS = "ghcr.io/trunkline/"
TIMEOUT_S = 20
_NAMED = re.compile(
    r"(?:image: |ARG PYTHON=)(?P<host>[a-z0-9.-]+(?::[0-9]+)?)/(?P<name>[a-z0-9._/-]+)"
    r"(?::(?P<tag>[A-Za-z0-9._-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Where Docker Hub answers, which is not where it is named.
_HOSTS = {"docker.io": "https://registry-1.docker.io"}
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)


class RegistryError(Exception):
    """A registry that cannot be asked, or has no such image; one line."""


@dataclass(frozen=True)
class Image:
    """An image as a file names it."""

    host: str
    name: str
    tag: str
    digest: str = ""

    def __str__(self) -> str:
        at = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.name}:{self.tag}{at}"


def files(root: Path = ROOT) -> list[Path]:
    """The files that name images."""
    return [root / "docker/Dockerfile", *sorted((root / "k8s").rglob("*.yaml"))]


def named(text: str) -> Iterator[Image]:
    """The images of others in a file's text."""
    for found in _NAMED.finditer(text):
        if not found[0].partition(": ")[2].startswith(OURS):
            yield Image(found["host"], found["name"], found["tag"] or "", found["digest"] or "")


def digest_of(image: Image, base: str = "") -> str:
    """The digest of an image's tag, as its registry has it now. Raises RegistryError."""
    base = base or _HOSTS.get(image.host, f"https://{image.host}")
    url = f"{base}/v2/{image.name}/manifests/{image.tag}"
    headers = {"Accept": ", ".join(_MANIFESTS)}
    status, answer = _head(url, headers)
    if status == 401:
        token = _token(answer.get("www-authenticate", ""), image)
        status, answer = _head(url, {**headers, "Authorization": f"Bearer {token}"})
    if status != 200:
        raise RegistryError(f"{image}: the registry answers {status}")
    digest = answer.get("docker-content-digest", "")
    if not _DIGEST.fullmatch(digest):
        raise RegistryError(f"{image}: the registry names no digest")
    return digest


def pinned(text: str, digests: dict[str, str]) -> str:
    """The text with the digest of each image by its name and tag."""
    for image in named(text):
        without = f"{image.host}/{image.name}:{image.tag}"
        if without in digests:
            text = text.replace(str(image), f"{without}@{digests[without]}")
    return text


def _head(url: str, headers: dict[str, str]) -> tuple[int, Mapping[str, str]]:
    request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310 - https
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, _lowered(answer.headers.items())
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code, _lowered(refused.headers.items())


def _lowered(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def _token(challenge: str, image: Image) -> str:
    """What the registry's own door gives to anybody who wants to read (RFC 6750 §3)."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if "realm" not in said:
        raise RegistryError(f"{image}: the registry lets nobody in")
    scope = f"service={said.get('service', '')}&scope=repository:{image.name}:pull"
    with urllib.request.urlopen(f"{said['realm']}?{scope}", timeout=TIMEOUT_S) as answer:  # noqa: S310
        return str(json.load(answer)["token"])


def _pin() -> int:
    digests: dict[str, str] = {}
    for path in files():
        for image in named(path.read_text()):
            without = Image(image.host, image.name, image.tag)
            try:
                digests.setdefault(str(without), digest_of(without))
            except (RegistryError, OSError, ValueError, KeyError) as error:
                print(f"{without}: its registry cannot be asked ({error}); nothing was changed")
                return 1
    for path in files():
        path.write_text(pinned(path.read_text(), digests))
    return _show()


def _show() -> int:
    images = sorted({str(image) for path in files() for image in named(path.read_text())})
    print("\n".join(images))
    missing = [image for image in images if "@" not in image]
    if missing:
        print(f"{len(missing)} without a digest: run `make pin-images` where registries answer")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(_pin() if "--pin" in sys.argv[1:] else _show())
