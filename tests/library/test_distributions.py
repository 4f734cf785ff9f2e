"""Both distributions as a user has them: built, installed into an empty environment, used there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from fleet.extras import advice
from launcher.variables import without
from tests.backends.kit import linked, open_call, soon
from tests.conftest import free_port
from tests.examples.caller import RATE_HZ, Caller, pitch_hz, tone

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
# What an author writes, and no more.
BACKEND = """
from trunkline.backend import Audio, Call, Text, serve


async def echo(call: Call) -> None:
    async for event in call.events():
        match event:
            case Audio():
                await call.send_audio(event.payload, event.duration)
            case Text():
                await call.send_text(event.label, event.text)


serve(echo)
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Built:
    """Wheel and source archive of a distribution."""

    wheel: Path
    sdist: Path

    def names(self) -> set[str]:
        """Top-level names in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name.partition("/")[0] for name in archive.namelist()}


@dataclass
class Environment:
    """A virtual environment of its own, and a folder that is not the checkout."""

    folder: Path

    @property
    def python(self) -> str:
        return str(self.folder / "bin/python")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=without(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, *what: str) -> None:
        constraints = str(ROOT / "constraints.txt")
        quiet = ("-q", "--disable-pip-version-check", "--no-compile")
        done = self.run("-m", "pip", "install", *quiet, "-c", constraints, *what)
        assert done.returncode == 0, done.stderr


def build(source: Path, out: Path) -> Built:
    """`python -m build`: a source archive, and the wheel made out of that."""
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(source)],
        check=True,
        capture_output=True,
    )
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(ROOT / "library", tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(ROOT, tmp_path_factory.mktemp("server"))


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    yield Environment(tmp_path / "venv")


def test_the_library_is_trunkline_and_nothing_else(library: Built) -> None:
    """One package in the wheel, with its types and its licence; no test in the archive."""
    assert {name.partition("-")[0] for name in library.names()} == {"trunkline"}
    with zipfile.ZipFile(library.wheel) as archive:
        names = archive.namelist()
    assert {"trunkline/py.typed", "trunkline/v1/model_pb2.pyi"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    with tarfile.open(library.sdist) as archive:
        roots = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert roots - {".gitignore"} == {
        *("trunkline", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO"),
    }


def test_the_servers_bring_no_second_library(server: Built) -> None:
    """Their wheel has the packages that it lists, and `trunkline` is not among them."""
    metadata = {name for name in server.names() if name.endswith(".dist-info")}
    assert server.names() - metadata == PACKAGES
    assert "trunkline" not in PACKAGES


async def test_a_backend_on_the_library_alone(library: Built, environment: Environment) -> None:
    """A dozen lines take a call over the model link, and end by SIGTERM with it."""
    environment.install(str(library.wheel))
    installed = environment.run("-m", "pip", "list", "--format", "freeze").stdout
    names = set(re.findall(r"^([\w.-]+)==", installed, re.MULTILINE)) - {"pip", "setuptools"}
    assert names == {"trunkline", "grpcio", "protobuf", "typing_extensions"}
    (environment.folder / "mine.py").write_text(BACKEND)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(environment.python, "mine.py"),
        cwd=environment.folder,
        env={**without(os.environ), "TRUNKLINE_BACKEND_LISTEN": f"127.0.0.1:{port}"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with linked(port) as link:
            handle, sink = await open_call(link)
            handle.send_audio(b"opus", 0, 960)
            handle.send_text("chat", "hello")
            await sink.until(lambda: sink.audio and sink.data)
            assert (sink.audio, sink.data) == ([(b"opus", 960)], [("chat", "hello")])
            process.terminate()
            handle.close("hangup")
            _, output = await soon(process.communicate())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    assert re.search(rf" INFO backend_ready backend=echo port={port}\n", output.decode())
    assert b"Traceback" not in output


async def test_the_servers_in_an_environment_of_their_own(
    library: Built, server: Built, environment: Environment
) -> None:
    """Without an extra each command says which it needs; with `launcher` a call is heard."""
    environment.install(str(library.wheel), str(server.wheel))
    for command, package in (("transceiver", "aiohttp"), ("relay", "numpy"), ("cli", "typer")):
        tried = environment.run("-m", command)
        assert (tried.returncode, tried.stderr) == (1, advice(command, package) + "\n")
    script = environment.run(str(environment.folder / "bin/trunkline"), "nodes")
    assert (script.returncode, script.stderr) == (1, advice("trunkline", "typer") + "\n")
    environment.install(str(library.wheel), f"{server.wheel}[launcher]")
    async with stack(environment) as (url, key):
        await heard(url, key)


@asynccontextmanager
async def stack(environment: Environment) -> AsyncIterator[tuple[str, str]]:
    """`python -m launcher` with an echo; gives the URL and a key."""
    settings = {
        "TRUNKLINE_TRANSCEIVER_API_KEYS": "my-key",
        "TRUNKLINE_TRANSCEIVER_HTTP": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_RELAY_HOST": "127.0.0.1",
        "TRUNKLINE_RELAY_WORKERS": "1",
        "TRUNKLINE_RELAY_PORT": str(free_port()),
        "TRUNKLINE_RELAY_METRICS": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_RELAY_ADMIN": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_TRANSCEIVER_ADMIN": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_BACKEND_LISTEN": f"127.0.0.1:{free_port()}",
        "TRUNKLINE_BACKEND_ADMIN": f"127.0.0.1:{free_port()}",
    }
    process = await asyncio.create_subprocess_exec(
        *(environment.python, "-m", "launcher", "--backend", "echo"),
        cwd=environment.folder,
        env={**without(os.environ), **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout
    try:
        output = ""
        async with asyncio.timeout(120):
            while "Ctrl-C ends" not in output:
                line = (await process.stdout.readline()).decode()
                assert line, output
                output += line
        yield f"http://{settings['TRUNKLINE_TRANSCEIVER_HTTP']}", "my-key"
    finally:
        process.terminate()
        await soon(process.communicate())


async def heard(url: str, key: str) -> None:
    """A page is served, and a stock client hears itself."""
    caller = Caller(tone(20, 500))
    async with aiohttp.ClientSession() as session:
        assert (await session.get(url)).status == 200
        try:
            await caller.connect(url, key, session)
            await caller.until(lambda: len(caller.heard) > 2 * RATE_HZ)
        finally:
            await caller.close()
    assert pitch_hz(caller.heard[RATE_HZ:].astype(np.int16)) == pytest.approx(500, abs=2)
