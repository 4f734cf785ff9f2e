"""The relay's place: sockets that stay, and the relays that come and go behind them.

Sockets, queues and workers' turns are virtual; everything that decides is the relay's own: engines,
flow cache, questions. Each relay is a supervisor with its store loops, and workers on its posts.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from relay.shared.counters import named
from relay.shared.nodes import FlowOwner
from relay.supervisor.flow_cache import FlowCache
from relay.supervisor.questions import MAX_WAITING, Questions
from relay.supervisor.store_counts import StoreCounts
from tests.relay.engine import Bounds, Engine, Packets, Shared, Slot
from tests.relay.kit import NOW_MS, NOW_S
from tests.simulation.claim_book import ClaimBook, Flow
from tests.simulation.ledger import demand
from tests.simulation.oracle import Life, Oracle
from tests.simulation.vanishing_store import VanishingStore
from wire.address import pack_address
from wire.keys import KeyRing

QUEUE_PACKETS = 512  # of one socket; the kernel drops what comes beyond
HOUSEKEEP_S = 0.05
TURN_S = (0.00005, 0.002)  # how soon a worker comes to what has arrived
WORK_S = 0.01  # how long it has in its hands what it made of that, at most
ANSWER_S = 0.001  # how often it looks whether an answer may leave
FLOW_IDLE_S = 4

Nodes = dict[int, tuple[int, bytes]]  # index → epoch and trunk address


def now_ms() -> int:
    """The monotonic clock of all workers."""
    return NOW_MS + int(asyncio.get_running_loop().time() * 1000)


def unix_s() -> int:
    """The wall clock of everybody."""
    return NOW_S + int(asyncio.get_running_loop().time())


@dataclass
class Post:
    """A public and a trunk socket, which outlive their workers, and who reads them now."""

    trunk_address: bytes
    public: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    trunk: deque[tuple[bytes, bytes]] = field(default_factory=deque)
    readers: list[Worker] = field(default_factory=list)

    def arrive(self, queue: deque[tuple[bytes, bytes]], sender: bytes, packet: bytes) -> None:
        """A packet for one of the two sockets."""
        if len(queue) < QUEUE_PACKETS:
            queue.append((sender, packet))
        for reader in self.readers:
            reader.wake()


@dataclass
class Keys:
    """The rings a relay has now."""

    token: KeyRing
    trunk: KeyRing


class Worker:
    """One life on a post. What a turn made is in its hands for a while, and then leaves."""

    def __init__(self, relay: Relay, post: Post, life: Life) -> None:
        self._relay, self._post, self.life = relay, post, life
        self._woken = self._is_at_work = self._will_answer = False
        self._alive = True
        self._waiting: deque[Callable[[], None]] = deque()  # for the turn to end
        post.readers.append(self)
        self.wake()
        self._housekeep()

    def die(self) -> None:
        """Be gone at once, with whatever was parked and in its hands."""
        self._alive = False
        self._post.readers.remove(self)
        engine = self.life.engine
        engine.slot.lost_parked += len(engine.parking)
        engine.close()

    def go_home(self) -> None:
        """End as one that is told to: not in the middle of a turn."""
        self.die()
        if self._is_at_work:
            self.life.engine.end_turn()

    def wake(self) -> None:
        """There is something to read."""
        if not self._woken:
            self._woken = True
            self._later(self._relay.chance.uniform(*TURN_S), self._turn)

    def answer(self, answers: Mapping[bytes, FlowOwner | None]) -> None:
        """The supervisor says who owns what was asked about."""
        self._between_turns(partial(self._hear, answers))

    def _between_turns(self, step: Callable[[], None]) -> None:
        """Do a step in a turn of its own, as soon as the worker is not at work."""
        if not self._alive:
            return
        if self._is_at_work:
            self._waiting.append(step)
            return
        self._is_at_work = True
        self.life.engine.begin_turn()
        step()

    def _leave(self, *sends: Callable[[], None]) -> None:
        """Let go of what this turn made, after a moment in which others do what they like."""
        self._later(self._relay.chance.uniform(0, WORK_S), self._end_turn, sends)

    def _end_turn(self, sends: Sequence[Callable[[], None]]) -> None:
        if not self._alive:
            return
        self._relay.oracle.leaves(self.life)
        for send in sends:
            send()
        self.life.engine.end_turn()
        self._is_at_work = False
        self._answer_claims()
        if self._waiting:
            self._between_turns(self._waiting.popleft())

    def _look_again(self) -> None:
        self._will_answer = False
        self._answer_claims()

    def _answer_claims(self) -> None:
        if not self._alive:
            return
        answers = self.life.engine.answered(now_ms(), unix_s())
        self._relay.oracle.answered_claims(self.life, answers)
        self._send(answers)
        if len(self.life.engine.answers) and not self._will_answer:
            self._will_answer = True
            self._later(ANSWER_S, self._look_again)

    def _later(self, delay_s: float, action: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(delay_s, action, *arguments)

    def _hear(self, answers: Mapping[bytes, FlowOwner | None]) -> None:
        relay, life = self._relay, self.life
        relay.oracle.answered(life, answers, now_ms(), relay.store_broken_s())
        life.engine.hear(answers, now_ms())
        datagrams = life.engine.released(unix_s())
        relay.oracle.released(life, datagrams)
        self._leave(partial(self._send, datagrams))

    def _turn(self) -> None:
        self._woken = False
        self._between_turns(self._read)

    def _read(self) -> None:
        datagrams, packets = self._read_public(), self._read_trunk()
        self._leave(partial(self._send, datagrams), partial(self._give, packets))
        if self._post.public or self._post.trunk:
            self.wake()

    def _read_public(self) -> Packets:
        batch, life = _take(self._post.public, self.life.engine.batch), self.life
        if not batch:
            return []
        datagrams = life.engine.up(batch, now_ms(), unix_s())
        self._relay.oracle.up(life, batch, datagrams, now_ms())
        asked = life.engine.questions()
        if asked:
            self._relay.questions.ask(asked, self.answer)
        return datagrams

    def _read_trunk(self) -> Packets:
        batch, life = _take(self._post.trunk, self.life.engine.batch), self.life
        if not batch:
            return []
        packets = life.engine.down(batch, now_ms(), unix_s())
        self._relay.oracle.down(life, batch, packets, now_ms())
        return packets

    def _send(self, datagrams: Packets) -> None:
        for node, datagram in datagrams:
            self._relay.to_node(node, self._post.trunk_address, datagram)

    def _give(self, packets: Packets) -> None:
        for address, packet in packets:
            self._relay.to_client(address, packet)

    def _housekeep(self) -> None:
        if self._alive:
            self._between_turns(self._keep_house)
            self._later(HOUSEKEEP_S, self._housekeep)

    def _keep_house(self) -> None:
        self.life.engine.housekeep(now_ms())
        self._relay.oracle.housekept(self.life, now_ms())
        self._leave()


@dataclass
class Desk:
    """A worker's slot of one relay: memory that its workers share, the post, who works there."""

    post: Post
    slot: Slot
    flows: dict[bytes, Flow] = field(default_factory=dict)
    worker: Worker | None = None


class Relay:
    """A supervisor and its workers."""

    def __init__(
        self,
        posts: list[Post],
        keys: Keys,
        nodes: Nodes,
        store: VanishingStore,
        oracle: Oracle,
        chance: random.Random,
        to_node: Callable[[bytes, bytes, bytes], None],
        to_client: Callable[[bytes, bytes], None],
        predecessor: Relay | None = None,
    ) -> None:
        self.oracle, self.chance = oracle, chance
        self.to_node, self.to_client = to_node, to_client
        self._keys, self._store = keys, store
        self._shared = Shared()
        self._transactions: dict[bytes, bytes] = {}
        self.book: ClaimBook = predecessor.book if predecessor else ClaimBook()
        for index, (epoch, address) in nodes.items():
            self.learn(index, epoch, address)
        oracle.disturb(now_ms())
        self.desks = [Desk(post, Slot()) for post in posts]
        self.book.tables += [desk.flows for desk in self.desks]
        # Also those before it: a claim that nobody makes any more is in no other memory.
        self._strange: list[Desk] = []
        if predecessor:
            self._strange = [*predecessor._strange, *predecessor.desks]
        self.counts = StoreCounts()
        self.questions = Questions(store, self.counts)
        tables = [desk.slot.flows for desk in self.desks]
        cache = FlowCache(store, tables, FLOW_IDLE_S, self.counts, now=lambda: now_ms() / 1000)
        self._loops = [asyncio.create_task(loop) for loop in (self.questions.run(), cache.run())]
        for desk in self.desks:
            self.fill(desk)

    def fill(self, desk: Desk) -> None:
        """Put a worker to a desk that has none."""
        beside = [other for other in [*self._strange, *self.desks] if other is not desk]
        bounds = Bounds(flow_idle_ms=FLOW_IDLE_S * 1000)
        engine = Engine(self._shared, desk.slot, self._keys.token, self._keys.trunk, bounds)
        engine.read([other.slot for other in beside])
        life = Life(
            engine,
            desk.flows,
            self._shared.nodes,
            self._transactions,
            self.book,
            [other.flows for other in beside],
            trunk_keys=self._keys.trunk,
        )
        desk.worker = Worker(self, desk.post, life)

    def read_too(self, successor: Relay) -> None:
        """Workers of now read the successor's tables as well."""
        for desk in self.desks:
            if desk.worker:
                desk.worker.life.engine.read([other.slot for other in successor.desks])
                desk.worker.life.siblings.extend(other.flows for other in successor.desks)

    def learn(self, index: int, epoch: int, address: bytes) -> None:
        """News of the directory."""
        self._shared.nodes.put(index, epoch, address)

    def rotate(self, keys: Keys) -> None:
        """Other keys for all workers, of now and to come."""
        self._keys = keys
        for desk in self.desks:
            if desk.worker:
                desk.worker.life.engine.rotate(keys.token, keys.trunk)
                desk.worker.life.trunk_keys = keys.trunk

    def has_seen(self, transaction_id: bytes) -> bool:
        """Whether its log has the transaction."""
        return transaction_id in self._transactions

    def store_broken_s(self) -> float:
        """When the store was last not whole, by the workers' clock."""
        return NOW_MS / 1000 + self._store.broken_s

    async def end(self) -> None:
        """All workers and loops at once; nothing of it is left but its tables."""
        self.oracle.disturb(now_ms())
        for desk in self.desks:
            if desk.worker:
                desk.worker.go_home()
                desk.worker = None
        for loop in self._loops:
            loop.cancel()
        await asyncio.wait(self._loops)
        for loop in self._loops:
            with suppress(asyncio.CancelledError):
                loop.result()  # a fault of a loop is a fault of the run

    def check_bounds(self) -> None:
        """Nothing of the supervisor's grows."""
        demand(len(self.questions._waiting) <= MAX_WAITING, "questions are bounded")

    def figures(self) -> Tally[str]:
        """All counters of its workers and its store loops."""
        tally: Tally[str] = Tally(vars(self.counts))
        for desk in self.desks:
            tally.update(named(desk.slot.counts))
        return tally


def dealt(posts: list[Post], address: bytes, salt: int) -> Post:
    """The post the kernel gives a client to, by a hash of its address."""
    return posts[zlib.crc32(address, salt) % len(posts)]


def new_posts(chance: random.Random, count: int) -> list[Post]:
    """Sockets of a new relay; its trunk ports are any."""
    return [Post(pack_address("10.0.0.1", chance.randrange(1024, 65536))) for _ in range(count)]


def _take(queue: deque[tuple[bytes, bytes]], most: int) -> Packets:
    return [queue.popleft() for _ in range(min(most, len(queue)))]
