"""What a simulated transceiver claims, until every relay worker that it knows has answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wire import trunk
from wire.claim import Claim
from wire.trunk import FrameType

Say = Callable[[bytes, Sequence[tuple[bytes, bytes]], FrameType], None]


class Claims:
    """Claims by ufrag. `say` takes a worker's trunk address, frames and their type."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._claims: dict[str, Claim] = {}
        self._workers: dict[bytes, int] = {}  # trunk address → sender that was heard there last
        self._unanswered: set[tuple[bytes, str]] = set()

    @property
    def paths(self) -> list[bytes]:
        """The trunk addresses of all workers heard so far."""
        return list(self._workers)

    def make(self, claim: Claim, paths: Sequence[bytes]) -> None:
        """Claim a call, also from workers that somebody else has heard."""
        for path in paths:
            self._workers.setdefault(path, 0)
        self._claims[claim.ufrag] = claim
        self._unanswered |= {(path, claim.ufrag) for path in self._workers}
        self.repeat()

    def forget(self, ufrag: str) -> None:
        """The call is another's, or over."""
        self._claims.pop(ufrag, None)

    def moved(self, ufrag: str, address: bytes) -> None:
        """The caller was heard from another address: what is said from now on names it."""
        claim = self._claims.get(ufrag)
        if claim and claim.address != address:
            self._claims[ufrag] = Claim(ufrag, claim.owner, claim.fenced, address)

    def heard(self, path: bytes, sender: int) -> None:
        """A worker has sent something; one that is new there is told everything."""
        if self._workers.get(path) != sender:
            self._workers[path] = sender
            self._unanswered |= {(path, ufrag) for ufrag in self._claims}

    def answered(self, path: bytes, frames: Sequence[tuple[bytes, bytes]]) -> None:
        """CLAIMED came."""
        for _, payload in frames:
            self._unanswered.discard((path, payload[:24].decode()))

    def repeat(self) -> None:
        """Say again what nobody has answered."""
        self._unanswered = {pair for pair in self._unanswered if pair[1] in self._claims}
        for path in sorted({path for path, _ in self._unanswered}):
            ufrags = sorted(ufrag for to, ufrag in self._unanswered if to == path)
            frames = [self._claims[ufrag].frame() for ufrag in ufrags]
            for run in trunk.fill(frames, trunk.DEFAULT_MTU):
                self._say(path, run, FrameType.CLAIM)

    def renew(self) -> None:
        """Say all of it to everybody again."""
        self._unanswered = {(path, ufrag) for path in self._workers for ufrag in self._claims}
