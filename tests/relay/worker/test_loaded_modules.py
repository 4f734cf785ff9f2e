"""What a relay worker loads: little, so that it starts quickly and nothing in it can wait."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROOMS = ("relay.worker", "relay.shared", "wire", "datagram", "numpy")
# Of the standard library: event loops, logs, threads, other processes, TLS and HTTP.
KEPT_OUT = {"asyncio", "ssl", "logging", "threading", "subprocess", "urllib", "http", "email"}
# NumPy draws these in by itself.
NUMPYS = {"threading", "urllib", "pathlib", "fnmatch"}
PROGRAM = """
import json, sys
{imports}
print(json.dumps(sorted(sys.modules)))
"""


def loaded(imports: str) -> set[str]:
    """The names of all modules after these imports in a process of its own."""
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(imports=imports)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return set(json.loads(output))


@pytest.fixture(scope="module")
def worker() -> set[str]:
    """The modules of a process that could be made a worker now."""
    return loaded("import relay.worker.loop") - loaded("")


def test_a_worker_loads_nothing_of_others(worker: set[str]) -> None:
    """Beside the standard library and NumPy: its own room, the shared one, formats, sockets."""
    own = {name for name in worker if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in own if name != "relay" and not in_rooms(name)} == set()


def test_a_worker_loads_little_of_the_standard_library(worker: set[str]) -> None:
    """No event loop, no TLS, no log: nothing that could wait, or that takes long to load."""
    assert not KEPT_OUT & {name.partition(".")[0] for name in worker} - NUMPYS


def in_rooms(name: str) -> bool:
    return any(name == room or name.startswith(room + ".") for room in ROOMS)
