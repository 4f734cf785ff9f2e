"""A process of a relay: a spare, later a worker, and our end of its control channel."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict

from fleet.liveness import Account, Usage
from relay.shared import control
from relay.shared.assignment import Assignment
from relay.shared.control import BadMessage
from relay.shared.orders import Orders


class Process:
    """Started when it is made. Raises OSError when that cannot be; then nothing is left of it."""

    def __init__(self) -> None:
        self._stop_listening: Callable[[], None] = _nothing
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._popen = _start(theirs.fileno())
        except BaseException:
            self._channel.close()
            raise
        self.pid = self._popen.pid
        try:
            self._account = Account(self.pid)
            self.pid_fd = os.pidfd_open(self.pid)
        except BaseException:
            self._end_unknown()
            raise

    def assign(self, assignment: Assignment, fds: list[int]) -> None:
        """Make it a worker; a process that is still starting reads this when it is ready."""
        control.send(self._channel, asdict(assignment), fds)

    def order(self, orders: Orders) -> None:
        """Tell it what is wanted; raises OSError when it is gone."""
        control.send(self._channel, orders.message())

    def tell(self, message: control.Message, fds: Sequence[int] = ()) -> None:
        """Tell it something else; raises OSError when it is gone or does not read."""
        control.send(self._channel, message, fds)

    def listen(
        self,
        hear: Callable[[control.Message], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        """Have `hear` called with every message of the worker, until `dismiss`.

        `on_fault` is called with what cannot be read, and with what `hear` raises.
        """
        loop = asyncio.get_running_loop()
        fd = self._channel.fileno()

        def stop() -> None:
            # Once only: the number may be another descriptor's afterwards.
            self._stop_listening = _nothing
            loop.remove_reader(fd)

        def on_readable() -> None:
            try:
                if not self._hear_one(hear):
                    stop()  # it is gone: its exit is what counts
            except Exception as error:
                on_fault(error)

        loop.add_reader(fd, on_readable)
        self._stop_listening = stop

    def _hear_one(self, hear: Callable[[control.Message], None]) -> bool:
        try:
            received = control.receive(self._channel)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if received is None:
            return False
        message, fds = received
        if fds:  # nobody sends us any
            for fd in fds:
                os.close(fd)
            raise BadMessage("descriptors from a worker")
        hear(message)
        return True

    def usage(self) -> Usage | None:
        """The kernel's account of it; None when that is not to be known."""
        return self._account.usage()

    def dismiss(self) -> None:
        """Let it end by itself: it reads the end of the channel."""
        self._stop_listening()
        self._channel.close()

    def kill(self) -> None:
        """End it now."""
        self._popen.kill()

    async def ended(self, timeout_s: float) -> None:
        """Wait until it has ended, and end it if it outlives the time-out."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.pid_fd, ended.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await ended.wait()
        finally:
            loop.remove_reader(self.pid_fd)

    def reap(self) -> int:
        """Exit status of one that has ended, or is ended now; nothing of it is left."""
        self.dismiss()
        if self._popen.poll() is None:
            self.kill()
        status = self._popen.wait()
        os.close(self.pid_fd)
        self._account.close()
        return status

    def _end_unknown(self) -> None:
        self._channel.close()
        self.kill()
        self._popen.wait()
        if hasattr(self, "_account"):
            self._account.close()


def _start(channel_fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "relay.worker", str(channel_fd)],
        pass_fds=[channel_fd],
        stdin=subprocess.DEVNULL,
    )


def _nothing(*_: object) -> None:
    pass
