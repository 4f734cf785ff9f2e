"""How much work a reader does for an input: instructions, and CPU time as a ratio."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
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
    with undisturbed():
        for _ in range(times):
            began_s = time.thread_time()
            survive(reader, data, refusals)
            shortest = min(shortest, time.thread_time() - began_s)
    return shortest


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Neither collect garbage nor ask the kernel for memory within the block.

    Both cost a large input more than half of one costs, and neither is the reader's work: a full
    collection walks through all that this process holds, which is pytest and every module of ours,
    and the kernel clears each page that it gives (1,000 of them in a reading of 6 ms).
    """
    _memory_at_hand()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def _memory_at_hand() -> Sequence[object]:
    """One object in each 200 KB of 30 MB: what is free between them stays with the interpreter."""
    return [[] for _ in range(500_000)][::3000]
