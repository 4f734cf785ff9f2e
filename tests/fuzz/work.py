"""How much work a reader does for an input: instructions, and CPU time as a ratio."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tests.fuzz.row import Reader


def survive(reader: Reader, data: bytes, refusals: tuple[type[BaseException], ...]) -> None:
    """Read; a documented exception is an answer."""
    with contextlib.suppress(refusals):  # type: ignore[arg-type]
        reader(data)


def steps(reader: Reader, data: bytes, refusals: tuple[type[BaseException], ...]) -> int:
    """Instructions of the interpreter for one input. The same input costs the same each time."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        survive(reader, data, refusals)
    finally:
        sys.settrace(before)
    return count


def cpu_s(
    reader: Reader, data: bytes, refusals: tuple[type[BaseException], ...], times: int = 3
) -> float:
    """CPU time of this thread for one input, the shortest of some: noise only adds."""
    shortest = float("inf")
    with collector_at_rest():
        for _ in range(times):
            began_s = time.thread_time()
            survive(reader, data, refusals)
            shortest = min(shortest, time.thread_time() - began_s)
    return shortest


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let nobody collect garbage within the block.

    A large input makes enough lists for a full collection, half of it does not. That walks through
    all that the process holds, which here is pytest and every module of ours: its time says nothing
    of the input, and a ratio of 2 becomes one of 3.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
