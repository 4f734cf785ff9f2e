"""What `import trunkline.backend` loads: the library is imported by every process of an author."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
before = set(sys.modules)
import trunkline.backend
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# grpcio, protobuf and the one package that grpcio needs.
DEPENDENCIES = {"grpc", "google", "typing_extensions", "cython_runtime"}
# grpcio itself imports these where they happen to be installed.
COMPANIONS = {"grpc_health", "grpc_reflection", "grpc_tools", "grpc_status", "grpc_channelz"}
# Of the standard library, what takes its time and no backend needs to start with.
HEAVY = {"email", "http", "importlib.metadata", "multiprocessing", "unittest", "urllib", "xml"}
MOST_MODULES = 250


def loaded() -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


def test_what_is_loaded() -> None:
    """The library, grpcio, protobuf, and a bounded part of the standard library."""
    modules = loaded()
    roots = {name.partition(".")[0] for name in modules if not name.startswith("_cython_")}
    foreign = roots - sys.stdlib_module_names - COMPANIONS
    assert foreign - DEPENDENCIES == {"trunkline"}
    assert not {
        name for name in modules for heavy in HEAVY if name == heavy or name.startswith(heavy + ".")
    }
    assert len(modules) < MOST_MODULES


def test_a_process_loads_no_uvloop_before_it_runs() -> None:
    """It is taken when a loop is made, where it is installed."""
    assert "uvloop" not in loaded()
