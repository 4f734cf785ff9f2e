"""One process's use of the ledger: who may place a call, and what live calls use.

    Ticket ─ admit ─▶ ledger … ended(ticket)          places are given back at once
                        └─ does not answer: counted here alone, until it does again

The task `run` does what nobody waits for, one thing after another: releases, charges, renewals, and
news of limits that operators changed. So no command overtakes another and renews a place that was
given back. What cannot be sent to the ledger is not kept. Places expire there by themselves, and
tokens that are spent during an outage are counted in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from fleet.errors import StoreUnavailable
from fleet.limits.ledger import RENEW_INTERVAL_S, Ledger, Usage
from fleet.limits.memory_ledger import MemoryLedger
from fleet.limits.rules import Demand, LimitReached, LimitRules, Limits, Refusal
from fleet.outages import OutageCounter

CHARGE_INTERVAL_S = 0.5  # usage of all calls goes to the ledger in lots

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Ticket:
    """One call of a key, and the subjects under which it has a place: none until it is admitted."""

    key_id: str
    subjects: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))


def _ignore(_exhausted: frozenset[str]) -> None:
    pass


class CallLimits:
    """Admits calls under `rules` and what operators changed of them.

        limits = CallLimits(ledger, rules, on_exhausted=...)
        worker = tasks.create_task(limits.run())
        ticket = Ticket(key_id)
        number = await limits.admit(ticket, choices)    # raises LimitReached
        limits.spent(ticket, tokens)
        limits.ended(ticket)
        ...
        await limits.close()                            # gives everything back

    `on_exhausted(subjects)` is told whose budgets are used up, after every charge until they are
    not. `counters` has admitted and refused calls by reason.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: LimitRules,
        *,
        on_exhausted: Callable[[frozenset[str]], None] = _ignore,
        now: Callable[[], float] = time.monotonic,
        renew_interval_s: float = RENEW_INTERVAL_S,
        charge_interval_s: float = CHARGE_INTERVAL_S,
    ) -> None:
        self._ledger = ledger
        self._settings_rules = rules
        self.rules = rules
        self.changed: frozenset[str] = frozenset()  # subjects whose limits operators have set
        self.on_exhausted = on_exhausted
        self._now = now
        self._renew_interval_s = renew_interval_s
        self._charge_interval_s = charge_interval_s
        self._alone = MemoryLedger()
        self._outages = OutageCounter("call_limits")
        self._ask_again_at_s = 0.0
        self._renew_at_s = now()
        self._live: dict[str, Ticket] = {}
        self._leaving: list[Ticket] = []
        self._spending: Counter[str] = Counter()
        self._news = asyncio.Event()
        self.counters: Counter[str] = Counter()

    @property
    def alone(self) -> bool:
        """Whether calls are counted in this process only, because the ledger does not answer."""
        return self._outages.failures > 0

    @property
    def live(self) -> int:
        """How many tickets are out."""
        return len(self._live)

    async def admit(self, ticket: Ticket, choices: Sequence[Collection[str]]) -> int:
        """Places for the call under its key and the models of the first choice that has room.

        Each choice has the models by name; returns the number of the one the call was given, from
        0. A call that is admitted again, because its choice came to nothing, keeps the places it
        needs and gives the others back. Raises LimitReached, and leaves the ticket as it was.
        """
        options = [self.rules.demands(ticket.key_id, *models) for models in choices]
        answer = await self._ask(ticket.id, options)
        if isinstance(answer, Refusal):
            self.counters[f"limit_refused_{answer.reason.value}"] += 1
            raise LimitReached(answer)
        if ticket.id not in self._live:
            self.counters["limit_admitted"] += 1
            self._live[ticket.id] = ticket
        given = tuple(demand.subject for demand in options[answer])
        self._leave(ticket, tuple(s for s in ticket.subjects if s not in given))
        ticket.subjects = given
        return answer

    def ended(self, ticket: Ticket) -> None:
        """The call is over, or never began; a second time does nothing."""
        if self._live.pop(ticket.id, None):
            self._leave(ticket, ticket.subjects)

    def moved(self, ticket: Ticket) -> None:
        """The call goes on in another process, which holds its places from now on."""
        self._live.pop(ticket.id, None)

    def adopt(self, ticket: Ticket) -> None:
        """Hold the places of a call that another process admitted; they are renewed at once."""
        self._live[ticket.id] = ticket
        self._renew_at_s = self._now()
        self._news.set()

    def spent(self, ticket: Ticket, tokens: int) -> None:
        """The model used `tokens` for this call."""
        if tokens > 0:
            self._spending.update(dict.fromkeys(ticket.subjects, tokens))
            self._news.set()

    async def usage(self) -> list[Usage]:
        """What subjects use, in the fleet. Raises StoreUnavailable."""
        return await self._ledger.usage()

    async def change(self, subject: str, limits: Limits | None) -> None:
        """Set limits for a subject in the whole fleet, as `Ledger.change`; holds here at once.

        Other processes follow within RENEW_INTERVAL_S. Raises StoreUnavailable and ValueError.
        """
        await self._ledger.change(subject, limits)
        await self._learn()

    async def run(self) -> None:
        """Keep the ledger right until cancelled."""
        while True:
            renew = self._now() >= self._renew_at_s
            if renew:
                self._renew_at_s = self._now() + self._renew_interval_s
            await self._settle(renew=renew)
            await self._wait_for_news(self._renew_at_s - self._now())

    async def close(self) -> None:
        """Give everything back. During an outage it is left to expire."""
        self._leaving += self._live.values()
        self._live.clear()
        with suppress(StoreUnavailable):
            await self._ledger.release(_places(self._leaving))
        await self._ledger.close()

    def _leave(self, ticket: Ticket, subjects: tuple[str, ...]) -> None:
        if subjects:
            self._leaving.append(replace(ticket, subjects=subjects))
            self._news.set()

    async def _ask(self, call: str, options: Sequence[tuple[Demand, ...]]) -> int | Refusal:
        if self._now() < self._ask_again_at_s:
            return await self._alone.admit(call, options)
        try:
            answer = await self._ledger.admit(call, options)
        except StoreUnavailable as error:
            self._failed(error)
            return await self._alone.admit(call, options)
        self._outages.answered()
        if not isinstance(answer, Refusal):
            # So that this process knows its own calls when it has to count alone.
            await self._alone.hold({demand.subject: (call,) for demand in options[answer]})
        return answer

    async def _settle(self, *, renew: bool) -> None:
        leaving, self._leaving = self._leaving, []
        spending, self._spending = self._spending, Counter()
        self._news.clear()
        gone = _places(leaving)
        await self._alone.release(gone)
        used = await self._alone.charge(spending)
        if renew:
            await self._alone.hold(_places(self._live.values()))
        try:
            await self._ledger.release(gone)
            used |= await self._ledger.charge(spending)
            if renew:
                await self._ledger.hold(_places(self._live.values()))
                await self._learn()
                self._outages.answered()
        except StoreUnavailable as error:
            self._failed(error)
        self._tell_exhausted(used)

    async def _learn(self) -> None:
        changed = await self._ledger.changes()
        self.changed = frozenset(changed)
        rules = self._settings_rules.changed_by(changed)
        if rules != self.rules:
            log.info("limits_changed", rules=str(rules))
            self.rules = rules

    async def _wait_for_news(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, longest_s)):
                await self._news.wait()
        if self._spending and not self._leaving:
            await asyncio.sleep(self._charge_interval_s)

    def _failed(self, error: StoreUnavailable) -> None:
        self._outages.failed(error)
        self._ask_again_at_s = self._now() + self._outages.pause_s

    def _tell_exhausted(self, used: Mapping[str, int]) -> None:
        over = frozenset(s for s, tokens in used.items() if self._is_over(s, tokens))
        if over:
            self.on_exhausted(over)

    def _is_over(self, subject: str, tokens: int) -> bool:
        budget = self.rules.limits_of(subject).tokens
        return 0 < budget <= tokens


def _places(tickets: Collection[Ticket]) -> dict[str, list[str]]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for ticket in tickets:
        for subject in ticket.subjects:
            places[subject].append(ticket.id)
    return dict(places)
