"""What becomes of an exception that a library logs: a line, where none of our code was at work.

grpc, for one, logs with `exc_info` what it tries and survives: a text of the kernel that is not
UTF-8, when a process has no descriptor left. A stack of a library's frames tells an operator
nothing, and a stranger can have it written again and again. Where code that is no library's raised,
or called what raised, the whole stack stays: somebody has to mend that.
"""

from __future__ import annotations

import logging
import sysconfig
import traceback
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

from fleet.redact import redact_text

OURS = frozenset(
    (
        "backends",
        "cli",
        "datagram",
        "fleet",
        "launcher",
        "relay",
        "transceiver",
        "trunkline",
        "wire",
    )
)
"""Packages that may be installed beside the libraries."""
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
LONGEST_TEXT = 200  # characters of an exception's own text


def exception_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record's exception adds to the line: its stack, or three words about it."""
    if not record.exc_info or (error := record.exc_info[1]) is None:
        return {}
    if any(not _of_a_library(frame) for frame, _ in traceback.walk_tb(error.__traceback__)):
        return {"exc_info": record.exc_info}
    text = " ".join(str(error).split())[:LONGEST_TEXT]
    return {
        "error": type(error).__name__,
        "reason": redact_text(text),
        "at": _place(error.__traceback__),
    }


def _of_a_library(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package not in OURS and _in_a_library(frame.f_code)


def _in_a_library(code: CodeType) -> bool:
    # Frames of compiled modules name a file of whoever compiled them, by a relative path.
    return code.co_filename.startswith(LIBRARIES) or not Path(code.co_filename).is_absolute()


def _place(frames: TracebackType | None) -> str:
    """File, line and function of who raised it; "" when that is not known."""
    if not (stack := traceback.extract_tb(frames)):
        return ""
    return f"{Path(stack[-1].filename).name}:{stack[-1].lineno} {stack[-1].name}"
