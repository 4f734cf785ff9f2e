"""The ledger of a real fleet: places, rates and budgets in Redis."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from fleet.limits import scripts as ledger_scripts
from fleet.limits.ledger import MAX_LISTED, PLACE_LEASE_S, WINDOW_S, Usage
from fleet.limits.rules import MAX_RULES, Demand, Limits, Reason, Refusal
from fleet.redis_link import RedisLink

ANSWER_TIMEOUT_S = 0.5  # a caller is waiting
MAX_CALLS_A_SCRIPT = 500  # Redis does nothing else while a script runs


class RedisLedger:
    """A `Ledger` in the Redis at `url`, for one cluster (0 to 4095).

    No command is repeated: whoever waits can count by itself meanwhile
    (`fleet.limits.call_limits`).
    `unreadable` counts limits set by operators that this version cannot read; they are left out.
    """

    def __init__(
        self,
        url: str,
        cluster: int,
        *,
        lease_s: float = PLACE_LEASE_S,
        window_s: int = WINDOW_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
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
        self._change = self._redis.register_script(ledger_scripts.CHANGE)
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
        return Refusal(demands[number].subject, Reason(reason), wait_ms / 1000)

    async def hold(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.hold`."""
        with self._link.failures_named():
            for subject, calls in _lots(places):
                await self._hold(keys=[self._key("calls", subject)], args=[self._lease_ms, *calls])

    async def release(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.release`."""
        with self._link.failures_named():
            for subject, calls in _lots(places):
                await self._redis.zrem(self._key("calls", subject), *calls)

    async def charge(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """As `Ledger.charge`."""
        used = {}
        with self._link.failures_named():
            for subject, amount in tokens.items():
                used[subject] = await self._charge(
                    keys=[self._key("spent", subject)], args=[self._window_ms, amount]
                )
        return used

    async def usage(self) -> list[Usage]:
        """As `Ledger.usage`."""
        found = []
        with self._link.failures_named():
            seen = await self._redis.zrange(self._key("seen"), 0, MAX_LISTED - 1, desc=True)
            for subject in sorted(map(str, seen)):
                keys = [self._key("calls", subject), self._key("spent", subject)]
                calls, tokens = await self._usage(keys=keys, args=[self._window_ms])
                found.append(Usage(subject, calls, tokens))
        return found

    async def changes(self) -> dict[str, Limits]:
        """As `Ledger.changes`."""
        with self._link.failures_named():
            written = await self._redis.hgetall(self._key("changes"))
        read = {str(subject): self._limits(str(text)) for subject, text in written.items()}
        return {subject: limits for subject, limits in read.items() if limits is not None}

    async def change(self, subject: str, limits: Limits | None) -> None:
        """As `Ledger.change`."""
        key = self._key("changes")
        with self._link.failures_named():
            if limits is None:
                await self._redis.hdel(key, subject)
                return
            done = await self._change(keys=[key], args=[subject, str(limits), MAX_RULES])
        if not done:
            raise ValueError(f"at most {MAX_RULES} subjects have limits of their own")

    async def close(self) -> None:
        """As `Ledger.close`."""
        await self._link.close()

    def _key(self, name: str, subject: str = "") -> str:
        return f"{self._prefix}{name}:{subject}" if subject else self._prefix + name

    def _limits(self, text: str) -> Limits | None:
        try:
            return Limits.parse(text)
        except ValueError:
            self.unreadable += 1
            return None


def _lots(places: Mapping[str, Collection[str]]) -> Iterator[tuple[str, list[str]]]:
    for subject, calls in places.items():
        left = iter(calls)
        while lot := list(itertools.islice(left, MAX_CALLS_A_SCRIPT)):
            yield subject, lot
