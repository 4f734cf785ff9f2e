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
        *("wire", "datagram", "fleet", "relay", "transceiver", "records", "backends"),
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
    # It knows the events and nobody who writes them.
    "records": frozenset({"wire", "fleet", "trunkline"}),
    "backends": frozenset({"wire", "fleet", "trunkline"}),
    "launcher": frozenset({"wire", "fleet", "trunkline"}),
    # The harness has backends of its own.
    "loadtest": frozenset(
        {"wire", "datagram", "fleet", "launcher", "backends", "records", "trunkline"}
    ),
    "cli": frozenset({"wire", "fleet", "trunkline"}),
    "console": frozenset(),
    "k8s": frozenset(),
    "supply": frozenset(),
}
# Each room of a package may import itself and these; "" are the modules at the package's root.
ROOMS: dict[str, dict[str, str]] = {
    "relay": {
        "": "shared supervisor",
        "shared": "",
        "worker": "shared",
        "supervisor": ". shared",
    },
    "fleet": {
        "": "admin",
        "admin": ". directory",
        "calls": ". directory",
        "directory": ".",
        "limits": ".",
        "record": ".",
    },
    # A call is a value that its parts write and are made from again (`takeover`), so `takeover`
    # and those parts know each other.
    "transceiver": {
        "": "call engine link moves pod record recovery restore signaling transport",
        "rtp": ". takeover transport",
        "opus": "call rtp",
        "transport": ". takeover",
        "data": ". takeover transport",
        "takeover": ". call transport",
        "link": ". call",
        "call": ". data link opus rtp takeover transport",
        "engine": ". call link takeover transport",
        "restore": ". call engine link",
        "signaling": ". call engine link pod",
        "pod": ". call engine signaling",
        "moves": ". call engine link pod recovery signaling takeover",
        "recovery": ". call engine link pod takeover",
        "record": ". call engine pod rtp",
    },
    "records": {
        "": "evidence store",
        "evidence": "store",
        "api": ". diagnosis evidence export money store",
        "diagnosis": "",
        "export": "diagnosis",
        "money": "store",
        "pages": "",
        "store": "",
    },
    "backends": {
        "": "",
        "realtime": "",
        "agent": ". realtime",
        "voice": ". agent",
        "openai_pipeline": ". agent voice",
        "openai_realtime": ". agent openai_pipeline realtime",
    },
    "cli": {
        "": "calls doctor",
        "calls": ".",
        "doctor": ".",
    },
    "loadtest": {
        "": "*",
        "benchmarks": ". callers media_bench relay_bench",
        "callers": ".",
        "live": ". callers media_bench",
        "media_bench": ". callers relay_bench",
        "measured": "",
        "peers": "live stall",
        "plan": "",
        "records_bench": ". stand",
        "relay_bench": ".",
        "scenario_runs": ". live relay_bench stand",
        "siege": ". callers live relay_bench scenario_runs stand storm",
        "simulate": ".",
        "stall": ". callers scenario_runs stand",
        "stand": ".",
        "storm": ". live scenario_runs stand",
        "survive": ". callers peers scenario_runs stall stand",
        "voice_bench": ". callers relay_bench",
    },
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


def _modules_of(path: Path, *, for_types: bool = True) -> Iterator[str]:
    """The modules that a file of ours imports, by their full names.

    Without `for_types` those are left out that only a type checker imports.
    """
    tree = ast.parse(path.read_text())
    checked = {
        id(node) for block in ast.walk(tree) if _is_for_types(block) for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if for_types or id(node) not in checked:
            yield from _full_names(node)


def _full_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield (
                inner
                if (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                else node.module
            )


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _room(package: str, module: str) -> str:
    """The room of a module of ours; "." at the root of its package."""
    room = [*module.split("."), ""][1]
    return room if room and (ROOT / package / room).is_dir() else "."


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


@pytest.mark.parametrize("package", ROOMS)
def test_arrows_between_rooms(package: str) -> None:
    """No module imports a room of its own package that its room may not."""
    wrong = set()
    for path in modules(package):
        room = _room(package, _name_of(path))
        allowed = ROOMS[package][room.removeprefix(".")].split()
        for module in _modules_of(path):
            other = _room(package, module) if module.partition(".")[0] == package else room
            if other != room and other not in allowed and allowed != ["*"]:
                wrong.add((_name_of(path), module))
    assert wrong == set()


def test_every_room_has_its_arrows() -> None:
    """A new room must say what it may import."""
    found = {
        package: {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        for package in ALLOWED
    }
    assert {package: rooms for package, rooms in found.items() if rooms} == {
        package: set(rooms) - {""} for package, rooms in ROOMS.items()
    }


@pytest.mark.parametrize("for_types", [False, True])
def test_no_module_imports_itself_by_way_of_others(for_types: bool) -> None:
    """Not at run time; and where types alone go round, that is within one room."""
    paths = {
        _name_of(path): path
        for package in ALLOWED
        for path in modules(package)
        if package != "trunkline"
    }
    graph = {
        name: {m for m in _modules_of(path, for_types=for_types) if m in paths and m != name}
        for name, path in paths.items()
    }
    for ring in _rings(graph):
        assert for_types, ring
        assert len({module.rpartition(".")[0] for module in ring}) == 1, ring


def _rings(graph: dict[str, set[str]]) -> list[set[str]]:
    """Modules that reach each other: what is left when those are taken away that end nowhere."""
    left = {name: set(others) for name, others in graph.items()}
    while ends := {name for name, others in left.items() if not others & left.keys()}:
        for name in ends:
            del left[name]
    rings: list[set[str]] = []
    while left:
        name = next(iter(left))
        ring = {other for other in _reach(left, name) if name in _reach(left, other)}
        if ring:
            rings.append(ring)
        for other in ring | {name}:
            left.pop(other, None)
    return rings


def _reach(graph: dict[str, set[str]], start: str) -> set[str]:
    reached, waiting = set[str](), [start]
    while waiting:
        for other in graph.get(waiting.pop(), set()) - reached:
            reached.add(other)
            waiting.append(other)
    return reached


def test_rings_are_found() -> None:
    """One of two, one of three beside it, and what only leads to them is none."""
    graph = {
        "a": {"b"},
        "b": {"a", "x"},
        "x": set(),
        "c": {"d", "a"},
        "d": {"e"},
        "e": {"c"},
        "f": {"c"},
    }
    assert sorted(map(sorted, _rings(graph))) == [["a", "b"], ["c", "d", "e"]]


def test_wire_needs_only_the_standard_library() -> None:
    """The formats can be read by anybody with a Python."""
    for path in modules("wire"):
        assert imported(path.read_text()) <= sys.stdlib_module_names | {"wire"}, path.name


def test_the_library_needs_only_grpcio_and_protobuf() -> None:
    """No module of it needs anything else. It is faster where uvloop happens to be installed, and
    an address says what it is to pydantic, which only asks where it is installed."""
    for path in modules("trunkline"):
        known = OF_THE_LIBRARY | {"uvloop", "pydantic_core"}
        assert imported(path.read_text()) <= known, path.name


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
