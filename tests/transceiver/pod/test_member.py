"""When a process of a pod is taken for hung."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from fleet.ending import end
from fleet.errors import StartupError
from transceiver.pod import member
from transceiver.pod.heartbeat import Heartbeat
from transceiver.pod.member import Member

# In place of `transceiver.pod.crew_member`: says that it is up, beats or not, waits for its leash.
PROGRAM = """
import asyncio, socket, sys
from transceiver.pod.heartbeat import Heartbeat
async def run(mode, leash_fd, heartbeat_fd):
    beating = Heartbeat(heartbeat_fd)
    if mode == "mute":
        await asyncio.Event().wait()
    task = asyncio.create_task(beating.run())
    await asyncio.sleep(0)
    socket.socket(fileno=leash_fd).sendall(b"!")
    if mode == "spins":
        while True:
            pass
    await asyncio.Event().wait()
asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


class Stand(Member):
    """A member whose process is the small program above."""

    mode = "beats"

    async def _spawn(self, leash_fd: int) -> asyncio.subprocess.Process:
        descriptors = [leash_fd, self._heartbeat.fd]
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, self.mode, *map(str, descriptors)),
            pass_fds=descriptors,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def restarted(self) -> int:
        """The pid of the next process, once it is up."""
        before = self.pid
        keeping = asyncio.create_task(self.keep())
        while self.pid == before or not self._heartbeat.beat_ms:
            await asyncio.sleep(0.02)
        await end([keeping])
        return self.pid


@pytest.fixture
async def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> AsyncIterator[Stand]:
    """A member, not started; hung after a second."""
    monkeypatch.setattr(member, "HUNG_AFTER_MS", 1000)
    it = Stand(0, 1, [], str(tmp_path), lambda _: None)
    yield it
    await it.stop()


@pytest.mark.parametrize("how", ["stopped", "spins"])
async def test_a_process_that_hangs_is_ended_and_replaced(stand: Stand, how: str) -> None:
    """Stopped from outside, or in a loop of its own."""
    if how == "spins":
        stand.mode = "spins"
    await stand.start()
    if how == "stopped":
        os.kill(stand.pid, signal.SIGSTOP)
    stand.mode = "beats"
    async with asyncio.timeout(60):
        await stand.restarted()


async def test_a_process_that_never_begins_is_ended(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its time to start, and no more."""
    monkeypatch.setattr(member, "START_MS", 1000)
    stand.mode = "mute"
    with pytest.raises(StartupError):
        async with asyncio.timeout(60):
            await stand.start()


async def test_what_cannot_be_made_is_tried_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of descriptors the parent goes on, and so do its other processes."""
    await stand.start()
    failures = 2
    real = Stand._spawn

    async def spawn(self: Stand, leash_fd: int) -> asyncio.subprocess.Process:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(24, "Too many open files")
        return await real(self, leash_fd)

    monkeypatch.setattr(Stand, "_spawn", spawn)
    os.kill(stand.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await stand.restarted()
    assert failures == 0


async def test_a_process_that_hangs_while_it_leaves_is_ended(stand: Stand) -> None:
    """SIGTERM does nothing to one that is stopped."""
    await stand.start()
    os.kill(stand.pid, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await stand.stop()


async def test_a_heartbeat_is_seen_through_its_descriptor() -> None:
    """Beats of one mapping are read in another."""
    theirs = Heartbeat.create()
    ours = Heartbeat(theirs.fd)
    assert ours.beat_ms == 0
    beating = asyncio.create_task(theirs.run())
    await asyncio.sleep(0)
    assert ours.beat_ms > 0
    beating.cancel()
    theirs.close()
