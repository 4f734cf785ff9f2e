"""What things cost: prices of models by kind of usage, prices of the plumbing, and offers to rent.

Every price is of ONE unit (token, second, character, byte, …), whatever the file says it per.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

_DATED = re.compile(r"-20\d\d-?\d\d-?\d\d$")


@dataclass(frozen=True, slots=True)
class Price:
    """Of one unit: by the provider's list, and what we pay. `source` says where it was read."""

    list: Decimal
    paid: Decimal
    source: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a minute costs at somebody who rents it out. None: no figure with a source.

    `with_model` says whether the model is in it, or only the plumbing.
    """

    name: str
    per_minute: Decimal | None
    with_model: bool
    as_of: str
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Book:
    """Prices of one currency. `models` are by provider and name; provider "" is any.

    `plumbing` has names of `units.PLUMBING`; one that is missing is not known.
    """

    currency: str
    models: Mapping[tuple[str, str], Mapping[str, Price]] = field(default_factory=dict)
    plumbing: Mapping[str, Price] = field(default_factory=dict)
    measured: Mapping[str, Decimal] = field(default_factory=dict)
    rented: tuple[Offer, ...] = ()
    fixed_month: Decimal | None = None
    _by_name: dict[str, Mapping[str, Price] | None] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for (_, name), prices in self.models.items():
            self._by_name[name] = None if name in self._by_name else prices

    def prices_of(self, provider: str, model: str) -> Mapping[str, Price]:
        """By kind of usage; empty for a model that is not in the book.

        A dated name such as `gpt-realtime-2025-08-28` is looked for without its date, too. Without
        a provider a model is found if only one provider of the book has it.
        """
        for name in dict.fromkeys((model.lower(), _DATED.sub("", model.lower()))):
            found = self.models.get((provider.lower(), name)) or self.models.get(("", name))
            if found is None and not provider:
                found = self._by_name.get(name)
            if found is not None:
                return found
        return {}
