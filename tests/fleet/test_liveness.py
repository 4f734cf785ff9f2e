"""A worker that hangs is found; one that the machine gives no time is not blamed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleet.liveness import HUNG_AFTER_MS, MAX_STEP_MS, Account, Pulse, Usage

LOOK_MS = 250
BEAT_MS = 7


def looks_until_hung(runnable: bool, cpu_share: float, look_ms: int = LOOK_MS) -> int | None:
    """How many looks at a silent worker it takes; None if a hundred are not enough."""
    pulse = Pulse()
    for look in range(100):
        usage = Usage(int(look * look_ms * cpu_share), runnable)
        if pulse.hangs(BEAT_MS, usage, 1000 + look * look_ms):
            return look
    return None


@pytest.mark.parametrize(("runnable", "cpu_share"), [(False, 0), (True, 1)])
def test_a_blocked_or_a_spinning_worker_hangs_after_two_seconds(
    runnable: bool, cpu_share: float
) -> None:
    """Stopped or waiting for ever: by the clock. In an endless loop: by what it used of a core."""
    assert looks_until_hung(runnable, cpu_share) == HUNG_AFTER_MS // LOOK_MS + 1


def test_a_worker_that_gets_no_core_does_not_hang() -> None:
    """It could run and was not let: however long, it is the machine's fault."""
    assert looks_until_hung(runnable=True, cpu_share=0) is None


def test_a_worker_that_spins_on_a_tenth_of_a_core_hangs_ten_times_later() -> None:
    """Two seconds of its own time are two seconds, whenever it gets them."""
    assert looks_until_hung(runnable=True, cpu_share=0.1) == 10 * HUNG_AFTER_MS // LOOK_MS + 1


def test_a_beat_forgives_all_silence_before_it() -> None:
    """A loop that comes round now and then does not hang."""
    pulse = Pulse()
    looks = [pulse.hangs(look // 7, Usage(0, False), look * LOOK_MS) for look in range(100)]
    assert not any(looks)


def test_a_look_that_comes_late_counts_little() -> None:
    """After a pause of the whole machine the worker gets a chance to beat."""
    pulse = Pulse()
    assert not pulse.hangs(BEAT_MS, Usage(0, False), 1000)
    assert not pulse.hangs(BEAT_MS, Usage(0, False), 61_000)
    assert looks_until_hung(False, 0, look_ms=60_000) == HUNG_AFTER_MS // MAX_STEP_MS + 1


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that computes, at least a little already."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def test_the_kernel_knows_who_runs_and_who_is_stopped(busy: subprocess.Popen[bytes]) -> None:
    """A process that computes has used CPU; a stopped one cannot run; one that is gone is None."""
    account = Account(busy.pid)
    while not ((usage := account.usage()) and usage.cpu_ms):
        assert usage is None or not usage.stopped
    os.kill(busy.pid, signal.SIGSTOP)
    os.waitpid(busy.pid, os.WUNTRACED)
    stopped = account.usage()
    assert stopped
    assert stopped.stopped
    assert not stopped.runnable
    busy.kill()
    busy.wait()
    assert account.usage() is None
    account.close()
    with pytest.raises(OSError):
        Account(busy.pid)


def test_a_look_needs_no_descriptor(busy: subprocess.Popen[bytes]) -> None:
    """A process at its limit still knows how its children are."""
    account = Account(busy.pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        assert account.usage()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        account.close()
