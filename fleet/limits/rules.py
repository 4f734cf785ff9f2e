"""How much a key or a model may use, and how a setting says it.

    key/*: calls=100 rate=10 tokens=500000; key/k_0123456789: calls=5; model/voice: calls=40

`calls` at once, `rate` new calls per second, `tokens` of the model in one window of time; what is
left out, or 0, is not limited. `key/*` is for every key without a rule of its own. `model/NAME`
is for the calls that the backend NAME gets. If no backend has that name, it is for the calls whose
session names that model. Each model must be named here: callers choose the names in sessions, and
they must not choose how many accounts there are.

    Exception
    └── LimitReached     a call would use more than it may; `refusal` says of what, and until when
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from trunkline.process.address import shown

LARGEST = 1_000_000_000
MAX_RULES = 256
MAX_LIMITS_CHARS = 100  # of one subject; the longest has 56
MAX_RULES_CHARS = MAX_RULES * 200
ANY_KEY = "key/*"

_SUBJECT = re.compile(r"(key|model)/[A-Za-z0-9._-]{1,64}|key/\*")
_AMOUNT = re.compile(r"(?P<name>calls|rate|tokens)=(?P<value>[0-9]{1,10}(\.[0-9]{1,3})?)")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one subject; 0 is none. `rate` in calls per second, `tokens` per window."""

    calls: int = 0
    rate: float = 0.0
    tokens: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an amount out of range."""
        if not all(0 <= amount <= LARGEST for amount in (self.calls, self.rate, self.tokens)):
            raise ValueError(f"calls, rate and tokens are 0 to {LARGEST}")

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Read `calls=100 rate=10 tokens=5000`. Raises ValueError with one sentence."""
        found = [_AMOUNT.fullmatch(word) for word in text[: MAX_LIMITS_CHARS + 1].split()]
        amounts = {match["name"]: float(match["value"]) for match in found if match}
        if len(text) > MAX_LIMITS_CHARS or not len(found) == len(amounts) > 0:
            raise ValueError(f"{shown(text)} is not calls=N rate=N tokens=N, each once at most")
        calls, tokens = amounts.get("calls", 0), amounts.get("tokens", 0)
        if not (calls == int(calls) and tokens == int(tokens)):
            raise ValueError(f"{shown(text)}: calls and tokens are whole numbers")
        return cls(int(calls), amounts.get("rate", 0), int(tokens))

    def __str__(self) -> str:
        return f"calls={self.calls} rate={self.rate:.10g} tokens={self.tokens}"

    @property
    def depth(self) -> float:
        """How many calls may come at once after a pause: what `rate` gives in a second, or one."""
        return max(1.0, self.rate)


@dataclass(frozen=True, slots=True)
class Demand:
    """What one call asks of one subject, which may use no more than `limits`."""

    subject: str
    limits: Limits


class Reason(Enum):
    """Which limit was reached; the values stand in Redis scripts, metrics and logs."""

    CALLS = "calls"
    RATE = "rate"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not admitted. `retry_after_s` is 0 when nobody can know."""

    subject: str
    reason: Reason
    retry_after_s: float


class LimitReached(Exception):  # noqa: N818 - says what happened
    """A call was not admitted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.subject} has used its {refusal.reason.value}")
        self.refusal = refusal


@dataclass(frozen=True)
class LimitRules:
    """Limits by subject."""

    rules: Mapping[str, Limits] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> LimitRules:
        """Read rules separated by semicolons. Raises ValueError with one sentence."""
        rules: dict[str, Limits] = {}
        if len(text) > MAX_RULES_CHARS:
            raise ValueError(f"rules have {MAX_RULES_CHARS} characters at most")
        items = [item for item in text.split(";") if item.strip()]
        for item in items[: MAX_RULES + 1]:
            subject, colon, amounts = item.partition(":")
            if not colon:
                raise ValueError(f"{shown(item.strip())} is not SUBJECT: calls=N rate=N tokens=N")
            rules[check_subject(subject.strip())] = Limits.parse(amounts)
        if not len(items) == len(rules) <= MAX_RULES:
            raise ValueError(f"at most {MAX_RULES} rules, each subject once")
        return cls(rules)

    def changed_by(self, others: Mapping[str, Limits]) -> LimitRules:
        """These rules with `others` in place of those for the same subjects."""
        return LimitRules({**self.rules, **others})

    def demands(self, key_id: str, *models: str) -> tuple[Demand, ...]:
        """What a call of this key and these models has to ask: its key, and models named here."""
        key, wanted = f"key/{key_id}", [f"model/{model}" for model in models]
        limits = self.rules.get(key) or self.rules.get(ANY_KEY) or Limits()
        named = [Demand(model, self.rules[model]) for model in wanted if model in self.rules]
        return (Demand(key, limits), *named)

    def limits_of(self, subject: str) -> Limits:
        """What holds for one subject."""
        by_default = self.rules.get(ANY_KEY) if subject.startswith("key/") else None
        return self.rules.get(subject) or by_default or Limits()

    def __str__(self) -> str:
        return "; ".join(f"{subject}: {limits}" for subject, limits in self.rules.items())


def check_subject(subject: str) -> str:
    """The subject, if it is one. Raises ValueError."""
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"{shown(subject)} is not key/ID, key/* or model/NAME")
    return subject
