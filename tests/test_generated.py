"""The committed protobuf modules are what their sources give."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PROTO = ROOT / "proto"
NAMES = sorted(path.stem for path in (PROTO / "trunkline/v1").glob("*.proto"))


@pytest.mark.parametrize("name", NAMES)
def test_generated_modules_are_current(name: str, tmp_path: Path) -> None:
    """`make proto` would change nothing."""
    plugin = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        [
            "protoc",
            f"-I{PROTO}",
            f"-I{well_known}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--python_out={tmp_path}",
            f"--grpc_python_out={tmp_path}",
            f"--mypy_out=quiet:{tmp_path}",
            f"{PROTO}/trunkline/v1/{name}.proto",
        ]
    )
    assert status == 0
    fresh = sorted((tmp_path / "trunkline/v1").iterdir())
    assert fresh
    for path in fresh:
        assert path.read_text() == (ROOT / "library/trunkline/v1" / path.name).read_text(), (
            path.name
        )
