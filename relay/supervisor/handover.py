"""A relay gives its sockets to its successor, so that an upgrade loses no packet.

Both run `python -m relay` with the same TRUNKLINE_RELAY_HANDOVER. The relay that comes asks the
relay that holds the path:

    successor                                        holder
      take {layout, cluster} ───────────────────────▶  same user?
      ◀────────── relay {layout, cluster, posts} + memory descriptor of the directory
      ◀──────────── post {capacity} + public, trunk and memory descriptors, once a worker
      tables {capacities} + memory descriptors ─────▶  its workers read the successor's tables too
      … starts its workers; both read the sockets now, and each other's tables …
      serving ──────────────────────────────────────▶  stops its workers, closes its ports
      takes the path
      ◀────────────────────────────────────────── end of the channel
      opens its own admin and metrics ports

Until `serving` the holder goes on as before, whatever becomes of the successor. The sockets are
never closed, so the kernel neither deals the clients anew nor drops what it has queued. Memory is
only read by the other side, and only when both have the same layout; otherwise the flows come
back from the store.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from fleet.errors import AddressUnusable, StartupError
from relay.settings import MAX_CAPACITY, MAX_WORKERS, RelaySettings
from relay.shared import control
from relay.shared.control import number
from relay.shared.memory import LAYOUT, SHARED_BYTES, Table, WorkerMemory, shared_nodes
from relay.supervisor.crew import Crew

ANSWER_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0  # from handing the sockets over to `serving`
END_TIMEOUT_S = 15.0
ACCEPT_PAUSE_S = 0.5
_LOOK_INTERVAL_S = 0.01
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_log = structlog.get_logger(__name__)


class HandoverRefused(StartupError):  # noqa: N818  (as in fleet.errors)
    """The relay that holds the path cannot be succeeded by this one."""


class Channel:
    """One SOCK_SEQPACKET connection between two relays; every wait is bounded."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def is_same_user(self) -> bool:
        """Whether the process at the other end runs as our user, or as root."""
        raw = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return _CREDENTIALS.unpack(raw)[1] in {os.getuid(), 0}

    def send(self, message: control.Message, fds: Sequence[int] = ()) -> None:
        """Send without waiting; raises OSError."""
        control.send(self._sock, message, fds)

    async def receive(self, timeout_s: float) -> tuple[control.Message, list[int]] | None:
        """The next message; None at the end. Raises OSError, and TimeoutError is one."""
        async with asyncio.timeout(timeout_s):
            await self._readable()
        return control.receive(self._sock)

    async def expect(self, kind: str, timeout_s: float) -> tuple[control.Message, list[int]]:
        """The next message, of that kind. Raises OSError at the end or for another kind."""
        received = await self.receive(timeout_s)
        if received is None:
            raise ConnectionAbortedError
        if kind not in received[0]:
            for fd in received[1]:
                os.close(fd)
            raise ConnectionAbortedError
        return received

    def close(self) -> None:
        """End it; the other side reads that."""
        self._sock.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._sock.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._sock.fileno())


@dataclass
class Inheritance:
    """What a running relay gave us. Its workers go on until `serve`."""

    public: list[socket.socket]
    trunk: list[socket.socket]
    tables: list[Table]
    nodes_fd: int | None
    _channel: Channel

    @property
    def sockets(self) -> tuple[list[socket.socket], list[socket.socket]]:
        """Public and trunk sockets, one of each a worker."""
        return self.public, self.trunk

    def prepare(self, crew: Crew) -> None:
        """Let the old workers read the new ones' flows, and keep the nodes the store forgot.

        A node without a lease is served as long as it answers (`fleet.directory`), by us too.
        """
        if self.nodes_fd is None:
            return
        crew.nodes.adopt(shared_nodes(self.nodes_fd))
        os.close(self.nodes_fd)
        tables = [post.table for post in crew.posts]
        with suppress(OSError):  # it is gone: then it needs nothing more
            capacities = [table.capacity for table in tables]
            self._channel.send({"tables": capacities}, [table.fd for table in tables])

    async def serve(self, crew: Crew) -> None:
        """Wait for our workers, then have the old ones stopped.

        Raises HandoverRefused when ours do not come up; the old relay goes on then.
        """
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not crew.up():  # noqa: ASYNC110  (they beat in shared memory)
                    await asyncio.sleep(_LOOK_INTERVAL_S)
        except TimeoutError:
            raise HandoverRefused("the workers do not come up") from None
        with suppress(OSError):  # gone already
            self._channel.send({"serving": True})

    async def outlive(self) -> None:
        """Wait until the old relay is gone and its ports are free, or does not end."""
        with suppress(OSError):
            while await self._channel.receive(END_TIMEOUT_S):
                pass
        self.close()

    def close(self) -> None:
        """End the conversation; before `serve` this means: go on without us."""
        self._channel.close()


async def inherit(settings: RelaySettings) -> Inheritance | None:
    """The sockets of the relay that holds the path of these settings; None when there is none.

    Raises HandoverRefused when it does not give them or serves another port or cluster, and
    AddressUnusable for a path that cannot be used.
    """
    if settings.relay_handover is None:
        return None
    inherited = await take(settings.relay_handover, settings.cluster)
    if inherited:
        port = inherited.public[0].getsockname()[1]
        if port != settings.relay_port:
            inherited.close()
            raise HandoverRefused(f"the relay at {settings.relay_handover} serves port {port}")
        if len(inherited.public) != settings.relay_workers:
            # A socket more or less would deal the clients anew, or lose what is queued.
            _log.warning("workers_inherited", workers=len(inherited.public))
    return inherited


async def take(path: Path, cluster: int) -> Inheritance | None:
    """Ask whoever holds `path` for its sockets; None when nobody does. Raises as `inherit`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise AddressUnusable(f"{path}: {error.strerror}") from None
    channel = Channel(sock)
    try:
        return await _take(channel, cluster)
    except (OSError, ValueError):
        channel.close()
        raise HandoverRefused(f"the relay at {path} does not hand over its sockets") from None
    except HandoverRefused:
        channel.close()
        raise


async def _take(channel: Channel, cluster: int) -> Inheritance:
    if not channel.is_same_user():
        raise HandoverRefused("the relay that holds the hand-over path runs as another user")
    channel.send({"take": LAYOUT, "cluster": cluster})
    said, nodes = await channel.expect("relay", ANSWER_TIMEOUT_S)
    if number(said, "cluster") != cluster:
        raise HandoverRefused("the relay that holds the hand-over path is of another cluster")
    posts = number(said, "posts", 1, MAX_WORKERS)
    inherited = Inheritance([], [], [], _whole(nodes, SHARED_BYTES), channel)
    for _ in range(posts):
        post, (public, trunk, *memory) = await channel.expect("capacity", ANSWER_TIMEOUT_S)
        inherited.public.append(_datagram_socket(public))
        inherited.trunk.append(_datagram_socket(trunk))
        inherited.tables += _tables([number(post, "capacity")] * len(memory), memory)
    return inherited


def _datagram_socket(fd: int) -> socket.socket:
    """Raises ValueError for what is not one that a worker can read."""
    sock = socket.socket(fileno=fd)
    if sock.family is not socket.AF_INET6 or sock.type is not socket.SOCK_DGRAM:
        sock.close()
        raise ValueError("not a UDP socket")
    sock.setblocking(False)
    return sock


def _whole(fds: Sequence[int], size_bytes: int) -> int | None:
    """The one descriptor there is, if its memory is as large as it must be; others are closed."""
    if len(fds) == 1 and os.fstat(fds[0]).st_size >= size_bytes:
        return fds[0]
    for fd in fds:
        os.close(fd)
    return None


def _tables(capacities: Sequence[object], fds: Sequence[int]) -> list[Table]:
    """Those tables that can be mapped: a worker must not meet one that cannot."""
    found = []
    for capacity, fd in zip([*capacities, *[None] * len(fds)], fds, strict=False):
        if not isinstance(capacity, int) or not 1 <= capacity <= MAX_CAPACITY:
            os.close(fd)
        elif _whole([fd], WorkerMemory.size_bytes(capacity)) is not None:
            found.append(Table(fd, capacity))
    return found


class Handover:
    """Holds the path (if there is one), and serves one successor at a time.

    `on_succeeded` is called when a successor's workers read the sockets. `close` ends the channel
    to it, which is how the successor learns that our ports are free: call it last.
    """

    def __init__(
        self, path: Path | None, crew: Crew, cluster: int, on_succeeded: Callable[[], None]
    ) -> None:
        self._path = path
        self._crew = crew
        self._cluster = cluster
        self._on_succeeded = on_succeeded
        self._listener: socket.socket | None = None
        self._inode = 0
        self._conversation: asyncio.Task[None] | None = None
        self._successor: Channel | None = None
        self._resuming: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen at the path, in place of whoever did. Raises AddressUnusable."""
        if self._path is None:
            return
        own = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.setblocking(False)
            listener.bind(str(own))
            own.chmod(0o600)  # before it listens, so nobody else was ever let in
            listener.listen(4)
            own.rename(self._path)
        except OSError as error:
            listener.close()
            own.unlink(missing_ok=True)
            raise AddressUnusable(f"{self._path}: {error.strerror}") from None
        self._inode = self._path.stat().st_ino
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._on_connection, listener)

    async def close(self) -> None:
        """Give the path up, unless a successor has it already, and end the conversation."""
        if self._resuming:
            self._resuming.cancel()
        if self._listener and self._path:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            with suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        if self._conversation and not self._conversation.done():
            self._conversation.cancel()
            await asyncio.wait([self._conversation])
        if self._successor:
            self._successor.close()

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it went away again, or there is no descriptor: then it is there still
            self._pause(listener)
            return
        channel = Channel(sock)
        busy = self._conversation and not self._conversation.done()
        if busy or self._successor or not channel.is_same_user():
            _log.warning("handover_refused", busy=bool(busy or self._successor))
            channel.close()
            return
        self._conversation = asyncio.create_task(self._converse(channel))

    def _pause(self, listener: socket.socket) -> None:
        """Look again in a moment: what cannot be accepted now would be reported at once."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())
        self._resuming = loop.call_later(ACCEPT_PAUSE_S, self._listen_again, listener)

    def _listen_again(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.fileno(), self._on_connection, listener)

    async def _converse(self, channel: Channel) -> None:
        try:
            await self._hand_over(channel)
        except asyncio.CancelledError:
            channel.close()
            raise
        except Exception as error:  # whatever it sent: we go on as before
            _log.warning("handover_broken_off", kind=type(error).__name__)
            channel.close()
        else:
            self._successor = channel
            _log.info("handover_done")
            self._on_succeeded()

    async def _hand_over(self, channel: Channel) -> None:
        said, _ = await channel.expect("take", ANSWER_TIMEOUT_S)
        same_layout = said["take"] == LAYOUT and number(said, "cluster") == self._cluster
        posts = self._crew.posts
        relay = {"relay": LAYOUT, "cluster": self._cluster, "posts": len(posts)}
        channel.send(relay, [self._crew.nodes_fd] if same_layout else [])
        for post in posts:
            memory = [post.table.fd] if same_layout else []
            fds = [post.public.fileno(), post.trunk.fileno(), *memory]
            channel.send({"capacity": post.table.capacity}, fds)
        if same_layout:
            said, fds = await channel.expect("tables", START_TIMEOUT_S)
            self._read_too(said["tables"], fds)
        await channel.expect("serving", START_TIMEOUT_S)

    def _read_too(self, capacities: object, fds: list[int]) -> None:
        tables = _tables(capacities if isinstance(capacities, list) else [], fds)
        try:
            self._crew.read_too(tables)
        finally:
            for table in tables:
                os.close(table.fd)
