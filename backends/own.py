"""An author's own backend, operated as those are that come with Trunkline.

python -m backends.own path/to/file.py:NAME
python -m backends.own package.module:NAME

NAME is an async function that takes a Call, or a Backend.
"""

from __future__ import annotations

import fleet.extras  # noqa: F401 - first: it says what to install when an import below fails

# isort: split
import importlib
import importlib.util
import inspect
import sys
import traceback
from operator import attrgetter
from pathlib import Path
from types import ModuleType

from backends.operated import serve
from backends.settings import BackendSettings
from fleet.settings import load
from trunkline.backend import Backend

PROGRAM = "python -m backends.own"
FORM = "FILE.py:NAME or MODULE:NAME"


class NotLoadedError(Exception):
    """The backend cannot be loaded; the text says why in one line."""


def loaded(where: str) -> Backend:
    """The backend that `FILE.py:NAME` or `MODULE:NAME` means. Raises NotLoadedError."""
    place, _, name = where.rpartition(":")
    if not place or not name:
        raise NotLoadedError(f"it is not {FORM}")
    module = _module_of(place)
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        raise NotLoadedError(f"there is no {name} in it{_others(module)}") from None
    if isinstance(found, Backend):
        return found
    if not inspect.iscoroutinefunction(found):
        raise NotLoadedError(f"{name} is neither an async function nor a Backend")
    return Backend(found)


def _module_of(place: str) -> ModuleType:
    try:
        return _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise NotLoadedError(f"there is no package {error.name}") from None
    except SystemExit as error:
        if not error.code:  # a file that serves by itself, and has served
            raise
        raise NotLoadedError(_reason(error)) from None
    except Exception as error:
        raise NotLoadedError(_reason(error)) from None


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotLoadedError("there is no such file")
    sys.path.append(str(path.resolve().parent))  # last: a neighbour must not stand in for ours
    spec = importlib.util.spec_from_file_location("own_backend", path)
    assert spec is not None and spec.loader is not None  # noqa: S101 - a .py file has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _reason(error: BaseException) -> str:
    if isinstance(error, NotLoadedError):
        return str(error)
    reason = " ".join(traceback.format_exception_only(error)[-1].split())
    last = traceback.extract_tb(error.__traceback__)[-1]
    return reason if isinstance(error, SyntaxError) else f"{reason} ({last.filename}:{last.lineno})"


def _others(module: ModuleType) -> str:
    handlers = [
        name
        for name, thing in vars(module).items()
        if isinstance(thing, Backend)
        or (inspect.iscoroutinefunction(thing) and thing.__module__ == module.__name__)
    ]
    return f"; there is {', '.join(handlers)}" if handlers else ""


def main() -> None:
    """Serve until SIGTERM. Raises SystemExit: 1 after one line when it cannot be loaded."""
    where, *rest = sys.argv[1:] or ["--help"]
    settings = load(BackendSettings, f"{PROGRAM} {FORM}", [where] if where[0] == "-" else rest)
    try:
        backend = loaded(where)
    except NotLoadedError as error:
        sys.stderr.write(f"cannot load {where}: {error}\n")
        raise SystemExit(1) from None
    serve(backend, settings)


if __name__ == "__main__":
    main()
