"""The engine's end of the trunk: it reads callers' frames and packs packets to them.

    socket ─▶ tag, replay ─▶ parts rejoined ─▶ frames, and the relay that sent them
    socket ◀─ packed per relay, tagged ◀─ flush ◀─ put, put, put

What is forged, cut or replayed is counted in `counters` by its reason and goes no further.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

from transceiver.counters import Counted
from transceiver.engine.trunk_socket import TrunkSocket
from transceiver.takeover.claims import Claims
from trunkline.process.address import Address
from wire import trunk
from wire.errors import WireError
from wire.keys import KeyRing
from wire.rejoin import Rejoin
from wire.replay import ReplayWindow
from wire.token import Route

Frame = tuple[bytes, bytes]  # client address (18 bytes) and payload
Frames = Sequence[Frame]


class TrunkPort:
    """One process's end of the trunk; `mtu` bounds its datagrams. Nothing flows before `open`.

    `on_fault` hears what raised over a datagram, which is then lost, and no other is. `on_claimed`
    hears what a relay worker answers to claims. `forwarders` are the senders that pass frames of a
    call on which has moved here (`transceiver.takeover.tombstones`): no relay is behind them.
    """

    def __init__(
        self,
        keys: KeyRing,
        mtu: int,
        counters: Counter[str],
        on_fault: Callable[[Exception], None],
    ) -> None:
        self.keys = keys
        self.socket: TrunkSocket | None = None
        self.out: dict[bytes, list[tuple[bytes, bytes]]] = {}  # by relay, until `flush`
        self._tagger = trunk.Tagger(keys)
        self._replay = ReplayWindow()
        self._rejoin = Rejoin()
        self._mtu = mtu
        self._max_payload = trunk.max_payload(mtu)
        self._counters = counters
        self._on_fault = on_fault
        self.on_claimed: Callable[[bytes, Frames], None] = _ignore
        self.claims = Claims()
        self.forwarders: OrderedDict[int, None] = OrderedDict()
        self._sent_datagrams = secrets.randbelow(1 << 32)

    def open(self, address: Address) -> TrunkSocket:
        """Bind the socket. Raises AddressInUse, AddressUnusable."""
        self.socket = TrunkSocket(address, self._mtu)
        return self.socket

    def close(self) -> None:
        """Give the port back; what is put from now on goes nowhere."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def rotate(self, keys: KeyRing) -> None:
        """Other keys from the next datagram on."""
        self.keys = keys
        self._tagger = trunk.Tagger(keys)

    def receive(self, now_s: float) -> Iterator[tuple[bytes, Frames]]:
        """What waits: the relay's address and its frames, datagram by datagram.

        The address is empty where another process passed the frames on.
        """
        if self.socket is None:
            return
        unix_s = int(time.time())
        for datagram, source in self.socket.receive(now_s):
            try:
                read = trunk.read(self._tagger, datagram)
                self._replay.accept(read.sender, read.time_s, read.count, unix_s)
                frames, lost = self._rejoin.frames(read)
            except WireError as error:
                self._counters[error.reason] += 1
                continue
            except Exception as error:
                self._on_fault(error)
                continue
            if lost:
                self._counters[Counted.TRUNK_PART] += lost
            passed_on = read.sender in self.forwarders
            if not passed_on and self.claims.senders.get(source) != read.sender:
                self.claims.heard(source, read.sender, now_s)
            if read.first is trunk.FrameType.CLAIMED:
                self.on_claimed(source, read.frames)
            elif frames:
                yield b"" if passed_on else source, frames
        if stale := self.socket.take_stale():
            self._counters[Counted.IN_STALE] += stale

    def put(self, relay: bytes, address: bytes, packet: bytes) -> bool:
        """Send a packet to `address` through a relay with the next `flush`; False if it is long."""
        if len(packet) > self._max_payload:
            self._counters[Counted.OUT_OVERSIZE] += 1
            return False
        frames = self.out.get(relay)
        if frames is None:
            frames = self.out[relay] = []
        frames.append((address, packet))
        return True

    def tell(
        self, route: Route, kind: trunk.FrameType, frames: Mapping[bytes, Sequence[Frame]]
    ) -> None:
        """Send control frames by relay worker, at once."""
        self._send(route, frames, kind)

    def flush(self, route: Route) -> None:
        """Send what was put, packed; `route` says who sends."""
        if not self.out:
            return
        out, self.out = self.out, {}
        self._send(route, out, trunk.FrameType.DATAGRAM)

    def _send(
        self, route: Route, out: Mapping[bytes, Sequence[Frame]], kind: trunk.FrameType
    ) -> None:
        sender, unix_s = route.node << 16 | route.epoch, int(time.time())
        datagrams = [
            (self._pack(sender, run, unix_s, kind), relay)
            for relay, frames in out.items()
            for run in trunk.fill(frames, self._mtu)
        ]
        if self.socket is None:
            return
        self._counters[Counted.OUT_DATAGRAMS] += len(datagrams)
        lost = self.socket.send(datagrams)
        if lost:
            self._counters[Counted.OUT_LOST] += lost

    def _pack(self, sender: int, frames: Frames, unix_s: int, kind: trunk.FrameType) -> bytes:
        self._sent_datagrams = (self._sent_datagrams + 1) & 0xFFFF_FFFF
        return trunk.pack(self._tagger, sender, unix_s, self._sent_datagrams, frames, kind)


def _ignore(_worker: bytes, _frames: Frames) -> None:
    pass
