"""The ledger of a fleet in one process, and of a fleet that has lost its store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.limits.ledger import MAX_LISTED, PLACE_LEASE_S, WINDOW_S, Usage
from fleet.limits.rules import MAX_RULES, Demand, Limits, Reason, Refusal

MAX_ACCOUNTS = 10_000


@dataclass(slots=True)
class _Account:
    """One subject. `level` calls may come at once, as of `level_at_s`."""

    places: dict[str, float] = field(default_factory=dict)  # call → end of its lease
    level: float = float("inf")  # cut to the depth that holds when it is asked
    level_at_s: float = 0.0
    window: int = 0
    tokens: int = 0


class MemoryLedger:
    """A `Ledger` in a dictionary. `now` is a clock in seconds.

    Keeps at most `max_accounts` subjects: beyond that the one used longest ago is forgotten, which
    can only let more calls in.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        lease_s: float = PLACE_LEASE_S,
        window_s: int = WINDOW_S,
        max_accounts: int = MAX_ACCOUNTS,
    ) -> None:
        self._now = now
        self._lease_s = lease_s
        self._window_s = window_s
        self._max_accounts = max_accounts
        self._accounts: dict[str, _Account] = {}
        self._changes: dict[str, Limits] = {}

    async def admit(self, call: str, options: Sequence[Sequence[Demand]]) -> int | Refusal:
        """As `Ledger.admit`."""
        refusals: list[Refusal] = []
        for number, demands in enumerate(options):
            missing = [d for d in demands if call not in self._account(d.subject).places]
            refusal = next(filter(None, map(self._refusal, missing)), None)
            if refusal is None:
                self._take(call, missing)
                return number
            refusals.append(refusal)
        return min(refusals, key=lambda refusal: refusal.retry_after_s)

    async def hold(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.hold`."""
        ends_s = self._now() + self._lease_s
        for subject, calls in places.items():
            self._account(subject).places.update(dict.fromkeys(calls, ends_s))

    async def release(self, places: Mapping[str, Collection[str]]) -> None:
        """As `Ledger.release`."""
        for subject, calls in places.items():
            account = self._accounts.get(subject)
            for call in calls if account else ():
                account.places.pop(call, None)  # type: ignore[union-attr]

    async def charge(self, tokens: Mapping[str, int]) -> dict[str, int]:
        """As `Ledger.charge`."""
        for subject, amount in tokens.items():
            self._account(subject).tokens += amount
        return {subject: self._account(subject).tokens for subject in tokens}

    async def usage(self) -> list[Usage]:
        """As `Ledger.usage`."""
        latest = list(self._accounts)[-MAX_LISTED:]
        accounts = {subject: self._account(subject) for subject in sorted(latest)}
        return [Usage(s, len(account.places), account.tokens) for s, account in accounts.items()]

    async def changes(self) -> dict[str, Limits]:
        """As `Ledger.changes`."""
        return dict(self._changes)

    async def change(self, subject: str, limits: Limits | None) -> None:
        """As `Ledger.change`."""
        if limits is None:
            self._changes.pop(subject, None)
        elif subject not in self._changes and len(self._changes) >= MAX_RULES:
            raise ValueError(f"at most {MAX_RULES} subjects have limits of their own")
        else:
            self._changes[subject] = limits

    async def close(self) -> None:
        """As `Ledger.close`; there is nothing to let go of."""

    def forget_everything(self) -> None:
        """Lose all data, as a store without persistence does when it restarts."""
        self._accounts.clear()
        self._changes.clear()

    def _account(self, subject: str) -> _Account:
        """The account as it is now: expired leases gone, the window the current one."""
        account = self._accounts.pop(subject, None) or _Account()
        self._accounts[subject] = account  # last used, last in order
        if len(self._accounts) > self._max_accounts:
            del self._accounts[next(iter(self._accounts))]
        now = self._now()
        for call in [call for call, ends_s in account.places.items() if ends_s <= now]:
            del account.places[call]
        window = int(now // self._window_s)
        if window != account.window:
            account.window, account.tokens = window, 0
        return account

    def _take(self, call: str, demands: Sequence[Demand]) -> None:
        for demand in demands:
            account = self._account(demand.subject)
            account.places[call] = self._now() + self._lease_s
            account.level = self._level(demand.limits, account) - 1
            account.level_at_s = self._now()

    def _refusal(self, demand: Demand) -> Refusal | None:
        limits, subject, now = demand.limits, demand.subject, self._now()
        account = self._account(subject)
        if limits.tokens and account.tokens >= limits.tokens:
            return Refusal(subject, Reason.TOKENS, self._window_s - now % self._window_s)
        if limits.calls and len(account.places) >= limits.calls:
            return Refusal(subject, Reason.CALLS, 0.0)
        level = self._level(limits, account)
        if level < 1:
            return Refusal(subject, Reason.RATE, (1 - level) / limits.rate)
        return None

    def _level(self, limits: Limits, account: _Account) -> float:
        """How many calls may come now; a subject without a rate is always full."""
        if not limits.rate:
            return limits.depth
        passed_s = max(0.0, self._now() - account.level_at_s)
        return min(limits.depth, account.level + passed_s * limits.rate)
