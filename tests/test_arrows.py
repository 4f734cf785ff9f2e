"""Who may import whom. The rooms of the house stay separate because this test says so."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = frozenset(
    {
        *("wire", "datagram", "fleet", "relay", "transceiver", "backends"),
        *("launcher", "loadtest", "cli", "console", "trunkline", "k8s", "supply", "tests"),
    }
)
LIBRARY = ROOT / "library"  # where `trunkline` is; the others are at the root
# What the library may import beside itself; who installs it gets this and no more.
OF_THE_LIBRARY = sys.stdlib_module_names | {"trunkline", "grpc", "google"}
# Each package may import itself and these of ours.
ALLOWED: dict[str, frozenset[str]] = {
    "trunkline": frozenset(),
    "wire": frozenset(),
    "datagram": frozenset(),
    "fleet": frozenset({"wire", "trunkline"}),
    "relay": frozenset({"wire", "datagram", "fleet", "trunkline"}),
    "transceiver": frozenset({"wire", "datagram", "fleet", "trunkline"}),
    "backends": frozenset({"wire", "fleet", "trunkline"}),
    "launcher": frozenset({"wire", "fleet", "trunkline"}),
    # The harness has backends of its own.
    "loadtest": frozenset({"wire", "datagram", "fleet", "launcher", "backends", "trunkline"}),
    "cli": frozenset({"wire", "fleet", "trunkline"}),
    "console": frozenset(),
    "k8s": frozenset(),
    "supply": frozenset(),
}
# The relay's image carries none of these; whatever a relay imports must do without.
MEDIA_LIBRARIES = frozenset({"aiortc", "aioice", "av", "pylibsrtp", "OpenSSL", "aiohttp"})
ON_THE_EDGE = ("wire", "datagram", "fleet", "relay")


def imported(source: str) -> set[str]:
    """The root packages a module imports, anywhere in it; relative imports are its own package."""
    return set(_imported(ast.parse(source)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and _is_dynamic_import(node):
            yield str(getattr(node.args[0], "value", "")).partition(".")[0]


def _is_dynamic_import(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return name in {"import_module", "__import__"} and bool(call.args)


def forbidden(package: str, source: str) -> set[str]:
    """What of ours a module of `package` imports and may not."""
    return (imported(source) & OURS) - ALLOWED[package] - {package}


def modules(package: str) -> list[Path]:
    root = LIBRARY if package == "trunkline" else ROOT
    return sorted((root / package).rglob("*.py"))


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows(package: str) -> None:
    """No module imports one of our packages that its own may not."""
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in modules(package)
        if (names := forbidden(package, path.read_text()))
    }
    assert modules(package)
    assert wrong == {}


def test_wire_needs_only_the_standard_library() -> None:
    """The formats can be read by anybody with a Python."""
    for path in modules("wire"):
        assert imported(path.read_text()) <= sys.stdlib_module_names | {"wire"}, path.name


def test_the_library_needs_only_grpcio_and_protobuf() -> None:
    """No module of it imports anything else; uvloop is taken where it happens to be installed."""
    for path in modules("trunkline"):
        assert imported(path.read_text()) <= OF_THE_LIBRARY | {"uvloop"}, path.name


@pytest.mark.parametrize("package", ON_THE_EDGE)
def test_the_edge_carries_no_media_library(package: str) -> None:
    """A relay installs without what only a transceiver needs."""
    for path in modules(package):
        assert not imported(path.read_text()) & MEDIA_LIBRARIES, path.name


def test_every_package_has_its_arrows() -> None:
    """A new package at the root must say what it may import."""
    roots = (*ROOT.glob("*/__init__.py"), *LIBRARY.glob("*/__init__.py"))
    found = {path.parent.name for path in roots} - {"tests"}
    assert found <= set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import relay", {"relay"}),
        ("import os, transceiver.rtp as rtp", {"transceiver"}),
        ("from loadtest.report import Report", {"loadtest"}),
        ("def f():\n    from backends import echo", {"backends"}),
        ("if TYPE_CHECKING:\n    import launcher", {"launcher"}),
        ("import importlib\nimportlib.import_module('relay.shared.flows')", {"relay"}),
        ("from . import relay\nimport fleet, wire.stun, json", set()),
    ],
)
def test_the_check_finds_what_it_looks_for(source: str, wrong: set[str]) -> None:
    """However an import is written, it is seen."""
    assert forbidden("fleet", source) == wrong
