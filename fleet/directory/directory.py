"""Which transceiver holds which node index: from a route token to a trunk address.

Theory of operation. News comes in two kinds, and `apply` takes both:

- a `Snapshot` is everything that holds a lease. It is believed also when an epoch in it is lower
  than the known one: a store that lost its data counts anew.
- a `Node` is one change, and may arrive late. One of an older epoch than the known one is dropped
  (serial arithmetic, mod 2^16); the next snapshot heals whatever that gets wrong.

Whoever can write to the store can bring an old record back. So what was made before the known one
(`at_ms`, by the clock of its maker) is passed over in both, unless it has a newer epoch.

A node that is no longer in a snapshot is not forgotten but marked `live=False`, until its index
gets a new owner. So an empty store, or a transceiver cut off from it, costs no call: its packets
still reach it, and if it is dead they reach nobody, as they should.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from trunkline.process.address import Address
from wire.epoch import is_older, next_epoch
from wire.token import MAX_EPOCH, MAX_NODE

MAX_NAME_LENGTH = 253


@dataclass(frozen=True, slots=True)
class Load:
    """Live calls of a node, and how many it takes, as of its last heartbeat."""

    calls: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Node:
    """One transceiver. `index` and `epoch` are those of its route tokens, 0–65535.

    `trunk` is where relays send; `draining` nodes take no new calls; `live` says whether a lease
    was held at the last news. `admin` is for operators, and so is `load`, which makes no node a
    different one. `http` is where other transceivers pass on requests about this one's calls.
    `at_ms` is when its owner said so, in Unix time; 0 where nobody can bring old news back.
    """

    index: int
    epoch: int
    trunk: Address
    name: str
    draining: bool = False
    live: bool = True
    admin: Address | None = None
    load: Load | None = field(default=None, compare=False)
    http: Address | None = None
    at_ms: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError for what no relay could use."""
        if not (0 <= self.index <= MAX_NODE and 0 <= self.epoch <= MAX_EPOCH):
            raise ValueError("node index and epoch are within 0 to 65535")
        check_claim(self.name, self.trunk)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every node that holds a lease, at one moment."""

    nodes: tuple[Node, ...]


log = structlog.get_logger(__name__)

Listener = Callable[[Sequence[Node]], None]


class Directory:
    """All known nodes by index. Bounded by the index space; survives any outage of the store."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._listeners: list[Listener] = []

    def find(self, index: int) -> Node | None:
        """The node that has or last had `index`; the caller compares the epoch."""
        return self._nodes.get(index)

    def __iter__(self) -> Iterator[Node]:
        """Every known node, also those no longer live, by index."""
        return iter(sorted(self._nodes.values(), key=lambda node: node.index))

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def live_count(self) -> int:
        """How many nodes hold a lease."""
        return sum(node.live for node in self._nodes.values())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the changed nodes after each `apply` that changed any.

        Returns the function that takes the listener off again. A change is always a whole node to
        put in the place of the one with its index; nothing is ever removed.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def apply(self, news: Snapshot | Node) -> tuple[Node, ...]:
        """Take in news; returns the nodes that changed, after telling the listeners."""
        wanted = (
            self._from_snapshot(news) if isinstance(news, Snapshot) else self._from_change(news)
        )
        changed = tuple(node for node in wanted if self._nodes.get(node.index) != node)
        self._nodes.update((node.index, node) for node in wanted)
        if changed:
            for listener in tuple(self._listeners):
                self._tell(listener, changed)
        return changed

    def _tell(self, listener: Listener, changed: tuple[Node, ...]) -> None:
        """Let a listener fail alone: the directory, and the others, go on."""
        try:
            listener(changed)
        except Exception:
            log.exception("directory_listener_failed")

    def _from_snapshot(self, snapshot: Snapshot) -> list[Node]:
        held = {node.index for node in snapshot.nodes}
        gone = [replace(n, live=False) for n in self._nodes.values() if n.index not in held]
        return [*(node for node in snapshot.nodes if not self._is_old(node)), *gone]

    def _from_change(self, node: Node) -> list[Node]:
        known = self._nodes.get(node.index)
        late = known is not None and is_older(node.epoch, than=known.epoch)
        return [] if late or self._is_old(node) else [node]

    def _is_old(self, node: Node) -> bool:
        known = self._nodes.get(node.index)
        return (
            known is not None
            and node.at_ms < known.at_ms
            and not is_older(known.epoch, than=node.epoch)
        )


def fenced(node: Node, at_ms: int = 0) -> Node:
    """What the directory says after `node` was taken for dead: the next epoch, and nobody in it.

    The name and the address stay, so that its owner knows itself by them (`is_fence_of`).
    """
    return replace(node, epoch=next_epoch(node.epoch), live=False, load=None, at_ms=at_ms)


def is_fence_of(node: Node, news: Node) -> bool:
    """Whether `news` says that `node` was taken for dead."""
    same = (node.index, node.name, node.trunk) == (news.index, news.name, news.trunk)
    return same and not news.live and news.epoch == next_epoch(node.epoch)


def check_claim(name: str, trunk: Address) -> None:
    """Raise ValueError for a name or trunk address that must not enter a directory.

    A host name there would make relays resolve on the packet path; a wildcard or port 0 leads
    nowhere.
    """
    if not (name.isprintable() and 1 <= len(name) <= MAX_NAME_LENGTH):
        raise ValueError(f"a node name is 1 to {MAX_NAME_LENGTH} printable characters")
    if not trunk.numeric or trunk.unspecified or trunk.port == 0:
        raise ValueError(f"{trunk} is not an address that relays can send to")
