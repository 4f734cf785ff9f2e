"""A run of load.c: streams out, sinks in, counts in shared memory."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launcher import StartupError
from loadtest.relay_bench.streams import Stream, stream_file
from loadtest.relay_bench.tally import LOAD, Tally

Kind = Literal["plain", "keyed", "trunk"]

WINDOW_FRAMES = 2048
"""Enough that a peer that takes 128 a time always has work, far less than its buffers hold."""
DRAIN_S = 0.3
"""What has not come back this long after the last send is lost."""
_POLL_S = 0.002


@dataclass(frozen=True)
class Sink:
    """A socket on which packets come back, and where in them the stamps are."""

    sock: socket.socket
    kind: Kind


class Load:
    """A running generator and sink."""

    def __init__(self, process: subprocess.Popen[bytes], tally: Tally) -> None:
        self._process = process
        self.tally = tally

    @property
    def failed(self) -> bool:
        """Whether it ended by itself, which it never should."""
        return self._process.poll() is not None

    def record(self) -> None:
        """Latencies count from now on."""
        self.tally.put("recording", 1)

    def stop(self) -> None:
        """Send no more; what is under way still counts."""
        self.tally.put("stop", 1)

    def sent(self, stream: int = 0) -> int:
        """Frames that one stream has sent."""
        return int(self.tally.counts("sent")[stream])

    def received(self) -> int:
        """Frames that came back."""
        return self.tally.count("frames")

    async def until_done(self, frames: int, timeout_s: float) -> bool:
        """Wait until so many frames are back; False when that took too long."""
        ends_at = time.monotonic() + timeout_s
        while self.received() < frames:
            if self.failed or time.monotonic() > ends_at:
                return False
            await asyncio.sleep(_POLL_S)
        return True


@asynccontextmanager
async def running(
    program: Path,
    streams: Sequence[Stream],
    sinks: Sequence[Sink],
    *,
    window: int = WINDOW_FRAMES,
    nap_us: int = 0,
) -> AsyncIterator[Load]:
    """Run the load for the length of the block. Raises StartupError when it does not start."""
    tally = Tally(LOAD)
    files = [stream_file(stream) for stream in streams]
    fds = [tally.fd, *files, *(s.sock.fileno() for s in streams), *(s.sock.fileno() for s in sinks)]
    words = [
        *(f"rx:{sink.sock.fileno()}:{sink.kind}" for sink in sinks),
        *(_words(stream, file) for stream, file in zip(streams, files, strict=True)),
    ]
    process = subprocess.Popen(  # noqa: ASYNC220  (nothing else waits for this loop)
        [str(program), str(tally.fd), str(window), str(nap_us), *words], pass_fds=fds
    )
    for file in files:
        os.close(file)
    load = Load(process, tally)
    try:
        while not tally.count("running"):
            if load.failed:
                raise StartupError("relay benchmark: the load generator did not start")
            await asyncio.sleep(_POLL_S)
        yield load
    finally:
        process.kill()
        process.wait()
        tally.close()


def _words(stream: Stream, file: int) -> str:
    return f"tx:{stream.sock.fileno()}:{file}:{stream.rate_pps}:{stream.burst}:{stream.segment}"


def drain(sock: socket.socket) -> int:
    """Throw away what is queued on a socket; returns how many datagrams that was."""
    count = 0
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return count
        count += 1
