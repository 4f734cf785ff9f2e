"""Which claims are due to which relay worker (`wire.claim`). Pure: `now` in, frames out.

    claim(call, claims, workers)   at once, and again 20, 60, 140, 300 and 600 ms later, then each
                                   second, until the worker has answered
    heard(worker)                  one that nobody knew: all claims of all calls
    beat()                         all claims to all workers once in ROUND_S, a few calls at a time

A worker that leaves a claim unanswered for PATIENCE_S is forgotten, with all that was due to it. If
it speaks again, it is one that nobody knew. So whatever a worker lost, a new process behind its
address learns everything at its first datagram, and one that is silent learns it within ROUND_S.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence

from wire.claim import Claim

REPEATS_S = (0.02, 0.06, 0.14, 0.3, 0.6)  # after the first time
REPEAT_S = 1.0  # and from then on, between two
PATIENCE_S = 10.0
ROUND_S = 20.0
MAX_WORKERS = 1024  # relay workers remembered; a fleet has some tens
MAX_CLAIMS = 8  # of one call: a caller has one address, or a few while its network changes

_UNHEARD = -1  # no sender's number: a claim names the worker, and it has not spoken

Frames = list[tuple[bytes, bytes]]  # entry address and payload


class _Due:
    """One claim that one worker has not answered."""

    __slots__ = ("awaited", "call_id", "first_s", "next_s", "times")

    def __init__(self, call_id: str, now: float, *, awaited: bool) -> None:
        self.call_id = call_id
        self.awaited = awaited
        self.first_s = self.next_s = now
        self.times = 0  # it was sent

    def sent(self, now: float) -> None:
        """When it is due again, if no answer comes."""
        self.times += 1
        known = self.times <= len(REPEATS_S)
        again_s = self.first_s + REPEATS_S[self.times - 1] if known else now + REPEAT_S
        self.next_s = max(again_s, now)


class Claims:
    """The claims of one process. Bounded by its calls, MAX_CLAIMS and MAX_WORKERS."""

    def __init__(self) -> None:
        self.senders: OrderedDict[bytes, int] = OrderedDict()  # worker → who it says it is
        self._of: dict[str, tuple[Claim, ...]] = {}
        self._due: dict[tuple[bytes, Claim], _Due] = {}
        self._heap: list[tuple[float, int, bytes, Claim]] = []
        self._numbers = itertools.count()  # so that the heap never compares claims
        self._open: defaultdict[str, int] = defaultdict(int)  # awaited answers, by call
        self._round: list[str] = []  # calls that this round has not come to
        self._beaten_s: float | None = None
        self._owed = 0.0

    def __len__(self) -> int:
        return len(self._of)

    @property
    def unanswered(self) -> int:
        """Claims that wait for an answer."""
        return len(self._due)

    def claim(
        self, call_id: str, claims: Sequence[Claim], workers: Iterable[bytes], now: float
    ) -> None:
        """A call is ours: say so to these workers, whose answers are awaited, and to all others."""
        self._of[call_id] = tuple(claims[:MAX_CLAIMS])
        for worker in workers:
            if worker not in self.senders:
                self._remember(worker, _UNHEARD)
            self._announce(worker, call_id, now, awaited=True)
        for worker in self.senders:
            self._announce(worker, call_id, now)

    def forget(self, call_id: str) -> None:
        """The call is over, or another's: nothing more is said of it."""
        self._of.pop(call_id, None)
        for key in [key for key, due in self._due.items() if due.call_id == call_id]:
            self._settle(key)

    def is_open(self, call_id: str) -> bool:
        """Whether one of the workers whose answers are awaited still has to answer."""
        return self._open.get(call_id, 0) > 0

    def heard(self, worker: bytes, sender: int, now: float) -> None:
        """A datagram of a worker that is not in `senders`, or calls itself otherwise there."""
        self._remember(worker, sender)
        for call_id in self._of:
            self._announce(worker, call_id, now)

    def answered(self, worker: bytes, claim: Claim) -> str:
        """The worker did what the claim says; whose claim that was, or "" when none was open."""
        due = self._due.get((worker, claim))
        if due is None:
            return ""
        self._settle((worker, claim))
        return due.call_id

    def poll(self, now: float) -> dict[bytes, Frames]:
        """What is to be sent now, by worker."""
        out: defaultdict[bytes, Frames] = defaultdict(list)
        while self._heap and self._heap[0][0] <= now:
            next_s, _, worker, claim = heapq.heappop(self._heap)
            due = self._due.get((worker, claim))
            if due is None or due.next_s != next_s:
                continue  # it was answered, or is due at another time
            if now - due.first_s >= PATIENCE_S:
                self._give_up(worker)
                continue
            out[worker].append(claim.frame())
            due.sent(now)
            self._push(worker, claim, due)
        return {worker: frames for worker, frames in out.items() if worker in self.senders}

    def due_s(self) -> float | None:
        """When `poll` may have something."""
        return self._heap[0][0] if self._heap else None

    def beat(self, now: float) -> None:
        """Go on with the round: as many calls as the time since the last beat is worth."""
        elapsed_s = 0.0 if self._beaten_s is None else now - self._beaten_s
        self._beaten_s = now
        self._owed = min(self._owed + len(self._of) * elapsed_s / ROUND_S, len(self._of))
        while self._owed >= 1:
            self._owed -= 1
            self._announce_next(now)

    def _announce_next(self, now: float) -> None:
        if not self._round:
            self._round = list(self._of)
        call_id = self._round.pop()
        for worker in list(self.senders) if call_id in self._of else ():
            self._announce(worker, call_id, now)

    def _announce(self, worker: bytes, call_id: str, now: float, *, awaited: bool = False) -> None:
        for claim in self._of[call_id]:
            if (worker, claim) not in self._due:
                due = self._due[worker, claim] = _Due(call_id, now, awaited=awaited)
                self._open[call_id] += awaited
                self._push(worker, claim, due)

    def _push(self, worker: bytes, claim: Claim, due: _Due) -> None:
        heapq.heappush(self._heap, (due.next_s, next(self._numbers), worker, claim))

    def _remember(self, worker: bytes, sender: int) -> None:
        if worker not in self.senders and len(self.senders) >= MAX_WORKERS:
            self._give_up(next(iter(self.senders)))
        self.senders[worker] = sender
        self.senders.move_to_end(worker)

    def _give_up(self, worker: bytes) -> None:
        self.senders.pop(worker, None)
        for key in [key for key in self._due if key[0] == worker]:
            self._settle(key)

    def _settle(self, key: tuple[bytes, Claim]) -> None:
        due = self._due.pop(key)
        self._open[due.call_id] -= due.awaited
        if not self._open[due.call_id]:
            del self._open[due.call_id]
