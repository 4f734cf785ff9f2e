"""Would a thread for libopus carry more PCM calls than the loop does?

    python -m tests.benchmarks.pcm_threads

Four ways to do the same work (`codec_work`), as ratios to the first, in turns:

    loop         one process, one core: what the engine does
    thread       a second thread for libopus, on the same core
    thread_2     the same thread, with a second core to run on
    processes_2  two processes, a core each: what a Pod does with its second core

Work is to be moved off the loop where that pays; this is the figure behind where it does.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Sequence

import typer

from launcher import StartupError
from loadtest.benchmark import Check, Progress, Result
from loadtest.relay_bench.benchmark import Benchmark, Bounds, add_benchmarks
from loadtest.relay_bench.cores import Cores, choose_cores
from loadtest.relay_bench.spread import ends, middle, ratios

PROGRAM = "tests.benchmarks.codec_work"


async def run(bounds: Bounds, progress: Progress) -> Result:
    """Measure the four ways in turns."""
    cores = choose_cores()
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(bounds.runs):
        progress.stage(f"run {number + 1}")
        for name, works in _ways(cores).items():
            rates[name].append(await _together(works, bounds.seconds))
        progress.call_done(ok=True)
    return _result(rates)


def _ways(cores: Cores) -> dict[str, list[tuple[str, str]]]:
    """By name: the processes of a way, each with what it does and its cores."""
    one, other = str(cores.forwarder), str(cores.load)
    return {
        "loop": [("loop", one)],
        "thread": [("thread", one)],
        "thread_2": [("thread", f"{one},{other}")],
        "processes_2": [("loop", one), ("loop", other)],
    }


async def _together(works: Sequence[tuple[str, str]], seconds: float) -> float:
    """Frames a second of processes that run at the same time."""
    return sum(await asyncio.gather(*(_measure(*work, seconds) for work in works)))


async def _measure(way: str, cores: str, seconds: float) -> float:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", PROGRAM, way, cores, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        reason = err.decode(errors="replace").strip().splitlines()[-1:]
        raise StartupError(f"pcm-threads: {way}: {' '.join(reason) or 'ended early'}")
    return float(out)


def _result(rates: dict[str, list[float]]) -> Result:
    loop = rates["loop"]
    figures: dict[str, object] = {"frames_per_s": middle(loop), "frames_per_s_range": ends(loop)}
    for name, values in rates.items():
        if name != "loop":
            figures[f"{name}_ratio"] = middle(ratios(values, loop))
            figures[f"{name}_ratio_range"] = ends(ratios(values, loop))
    best = max(rates, key=lambda name: middle(rates[name]))
    check = Check(
        "a second core carries more as a second process than as a thread",
        passed=best == "processes_2",
        detail=f"most frames: {best}",
    )
    return Result(figures=figures, checks=[check])


BENCHMARK = Benchmark(
    "pcm-threads", "Would a thread for libopus carry more PCM calls?", run, Bounds(5, 3.0)
)

if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    add_benchmarks(app, [BENCHMARK])
    app()
