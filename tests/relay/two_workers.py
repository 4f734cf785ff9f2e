"""Two workers of one relay and three transceivers, all by hand."""

from __future__ import annotations

from relay.shared.counters import Counter
from relay.shared.nodes import FlowOwner
from tests.relay import kit
from tests.relay.engine import Engine, Packets, Shared, Slot
from tests.relay.kit import NOW_MS, NOW_S, TOKEN_KEYS, TRUNK_KEYS, check, client, media
from wire import claim, trunk
from wire.address import pack_address
from wire.claim import NOBODY, Claim, sender
from wire.trunk import FrameType, Tagger

TAGGER = Tagger(TRUNK_KEYS)
ME, OTHER = client(1), client(2)


class Node:
    """A transceiver: what it says, and what it is sent."""

    def __init__(self, node: int, epoch: int) -> None:
        self.owner = FlowOwner(node, epoch)
        self.number = sender(node, epoch)
        self.address = pack_address("127.0.0.1", 7000 + node)
        self._count = 0

    def says(self, kind: FrameType, *frames: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        self._count += 1
        return self.address, trunk.pack(TAGGER, self.number, NOW_S, self._count, frames, kind)

    def ufrag(self) -> str:
        return kit.ufrag(*self.owner)

    def claims(self, ufrag: str, address: bytes = ME, fenced: int = NOBODY) -> tuple[bytes, bytes]:
        return self.claims_all(Claim(ufrag, self.number, fenced, address))

    def claims_all(self, *claims: Claim) -> tuple[bytes, bytes]:
        return self.says(FrameType.CLAIM, *[claim.frame() for claim in claims])

    def speaks(self, address: bytes = ME) -> tuple[bytes, bytes]:
        return self.says(FrameType.DATAGRAM, (address, media(40)))


OLD, NEW, THIRD = (FlowOwner(300, 41), FlowOwner(301, 9), FlowOwner(302, 65535))


class Relay:
    """Two workers beside each other; a third one can replace the first."""

    def __init__(self) -> None:
        self.shared, self.slots = Shared(), [Slot(), Slot()]
        self.old, self.new, self.third = Node(*OLD), Node(*NEW), Node(*THIRD)
        for node in (self.old, self.new, self.third):
            self.learn(node)
        self.workers = [self.worker(number) for number in range(2)]
        self.now_ms = NOW_MS

    def learn(self, node: Node) -> None:
        self.shared.nodes.put(*node.owner, node.address)

    def worker(self, number: int, shared: Shared | None = None) -> Engine:
        """A life on one of the two slots."""
        made = Engine(shared or self.shared, self.slots[number], TOKEN_KEYS, TRUNK_KEYS)
        made.read([slot for slot in self.slots if slot is not self.slots[number]])
        return made

    def up(self, number: int, *packets: tuple[bytes, bytes]) -> list[bytes]:
        """The trunk address that each packet went to, in the order of the datagrams."""
        with self.workers[number].turn():
            sent = self.workers[number].up(list(packets), self.now_ms, NOW_S)
        return [node for node, data in sent for _ in trunk.read(TAGGER, data).frames]

    def down(self, number: int, *datagrams: tuple[bytes, bytes]) -> Packets:
        with self.workers[number].turn():
            return self.workers[number].down(list(datagrams), self.now_ms, NOW_S)

    def answers(self, number: int) -> list[tuple[bytes, Claim]]:
        """Who was told CLAIMED, and of what."""
        told = []
        for address, data in self.workers[number].answered(self.now_ms, NOW_S):
            read = trunk.read(TAGGER, data)
            assert read.first is FrameType.CLAIMED
            told += [(address, claim.read(*frame)) for frame in read.frames]
        return told

    def count(self, number: int, counter: Counter) -> int:
        return self.workers[number].count(counter)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def connected(relay: Relay, node: Node, worker: int = 0, address: bytes = ME) -> str:
    """A call on a node, with a flow in one worker."""
    ufrag = node.ufrag()
    assert relay.up(worker, (address, check(ufrag))) == [node.address]
    assert relay.up(worker, (address, media())) == [node.address]
    return ufrag
