"""The ledger of a real fleet: places, rates and budgets are in Redis."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from fleet import redis_link
from fleet.limits import scripts as ledger_scripts
from fleet.limits.ledger import MAX_LISTED, PLACE_LEASE_S, WINDOW_S, Usage
from fleet.limits.rules import MAX_RULES, Demand, Limits, Reason, Refusal, check_subject
from fleet.redis_link import RedisLink
from fleet.seal import BrokenSeal, Keys, Seal

ANSWER_TIMEOUT_S = 0.5  # a caller is waiting
MAX_CALLS_A_SCRIPT = 500  # Redis does nothing else while a script runs


class RedisLedger:
    """A `Ledger` in the Redis at `url`, for one cluster (0 to 4095).

    No command is repeated: whoever waits can count by itself meanwhile
    (`fleet.limits.call_limits`).

    Limits that operators set are sealed (`fleet.seal`) with the ring that `keys` gives, so nobody
    else can set any, nor bring one back that this process saw replaced. `unreadable` counts what
    else is found there; it is left out. What is counted, places and tokens, cannot be sealed, since
    Redis itself counts it: whoever writes to Redis can change it.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        keys: Keys,
        *,
        lease_s: float = PLACE_LEASE_S,
        window_s: int = WINDOW_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """Raise ValueError for a URL that cannot be read."""
        self._link = RedisLink(url, answer_timeout_s=answer_timeout_s, retries=0)
        self._redis = self._link.client
        self._prefix = f"trunkline:{{{cluster}}}:ledger:"
        self._lease_ms = round(lease_s * 1000)
        self._window_ms = window_s * 1000
        self._admit = self._redis.register_script(ledger_scripts.ADMIT)
        self._hold = self._redis.register_script(ledger_scripts.HOLD)
        self._charge = self._redis.register_script(ledger_scripts.CHARGE)
        self._usage = self._redis.register_script(ledger_scripts.USAGE)
        self._release = self._redis.register_script(ledger_scripts.RELEASE)
        self._seen = self._redis.register_script(ledger_scripts.SEEN)
        self._changes = self._redis.register_script(ledger_scripts.CHANGES)
        self._change = self._redis.register_script(ledger_scripts.CHANGE)
        self._seal = Seal(keys, "limits", cluster)
        self._unix_s = unix_s
        self._set_at_ms: dict[str, int] = {}  # of subjects whose limits were sealed
        self.unreadable = 0

    async def admit(self, call: str, options: Sequence[Sequence[Demand]]) -> int | Refusal:
        """As `Ledger.admit`."""
        demands = list(dict.fromkeys(itertools.chain.from_iterable(options)))
        keys = [self._key("seen")]
        arguments: list[str | int | float] = [call, self._lease_ms, self._window_ms]
        for subject, limits in ((demand.subject, demand.limits) for demand in demands):
            keys += (self._key(name, subject) for name in ("calls", "rate", "spent"))
            arguments += [subject, limits.calls, limits.rate, limits.depth, limits.tokens]
        arguments += (" ".join(str(demands.index(d)) for d in option) for option in options)
        with self._link.failures_named():
            answer = await self._admit(keys=keys, args=arguments)
            if isinstance(answer, int):
                return answer
            number, reason, wait_ms = answer
            return Refusal(demands[number].subject, Reason(reason), max(0, wait_ms) / 1000)

    async def hold(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.hold`."""
        with self._link.failures_named():
            for subject, calls in _lots(places):
                await self._hold(keys=[self._key("calls", subject)], args=[self._lease_ms, *calls])

    async def release(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.release`."""
        with self._link.failures_named():
            for subject, calls in _lots(places):
                await self._release(keys=[self._key("calls", subject)], args=calls)

    async def charge(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """As `Ledger.charge`."""
        used = {}
        with self._link.failures_named():
            for subject, amount in tokens.items():
                keys = [self._key("spent", subject)]
                used[subject] = int(await self._charge(keys=keys, args=[self._window_ms, amount]))
        return used

    async def usage(self) -> list[Usage]:
        """As `Ledger.usage`."""
        found = []
        with self._link.failures_named():
            seen = await self._seen(keys=[self._key("seen")], args=[MAX_LISTED])
            for subject in sorted(filter(self._is_subject, seen)):
                keys = [self._key("calls", subject), self._key("spent", subject)]
                calls, tokens = await self._usage(keys=keys, args=[self._window_ms])
                found.append(Usage(subject, int(calls), int(tokens)))
        return found

    async def changes(self) -> dict[str, Limits]:
        """As `Ledger.changes`."""
        with self._link.failures_named():
            flat = await self._changes(keys=[self._key("changes")], args=[MAX_RULES])
            written = list(zip(flat[::2], flat[1::2], strict=True))
        read = {subject: self._limits(subject, sealed) for subject, sealed in written}
        return {subject: limits for subject, limits in read.items() if limits is not None}

    async def change(self, subject: str, limits: Limits | None) -> None:
        """As `Ledger.change`."""
        key = self._key("changes")
        with self._link.failures_named():
            if limits is None:
                await self._redis.hdel(key, subject)
                return
            content = f"{int(self._unix_s() * 1000)} {limits}".encode()
            sealed = self._seal.seal(subject.encode(), content)
            done = await self._change(keys=[key], args=[subject, sealed, MAX_RULES])
        if not done:
            raise ValueError(f"at most {MAX_RULES} subjects have limits of their own")

    async def close(self) -> None:
        """As `Ledger.close`."""
        await self._link.close()

    def _key(self, name: str, subject: str = "") -> str:
        return f"{self._prefix}{name}:{subject}" if subject else self._prefix + name

    def _limits(self, subject: str, sealed: object) -> Limits | None:
        try:
            content = self._seal.open(subject.encode(), sealed).decode()
            at_ms, _, text = content.partition(" ")
            limits = Limits.parse(text)
            if int(at_ms) < self._set_at_ms.get(subject, 0):
                raise BrokenSeal("limits that were replaced since")
        except ValueError:
            self._count_unreadable()
            return None
        self._set_at_ms[subject] = int(at_ms)
        return limits

    def _is_subject(self, text: str) -> bool:
        try:
            check_subject(text)
        except ValueError:
            self._count_unreadable()
            return False
        return True

    def _count_unreadable(self) -> None:
        self.unreadable += 1
        redis_link.counts["limits_unreadable"] += 1


def _lots(places: Mapping[str, Collection[str]]) -> Iterator[tuple[str, list[str]]]:
    for subject, calls in places.items():
        left = iter(calls)
        while lot := list(itertools.islice(left, MAX_CALLS_A_SCRIPT)):
            yield subject, lot
