"""What attackers noted up to the end of a stretch, and its form on the wire. Pure."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from loadtest.siege.ground import Ground


@dataclass(frozen=True)
class Notes:
    """As in `Ground`, since the beginning; `share` is what they took of a core in this stretch."""

    strangers_bytes: int = 0
    amplification: list[float] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    share: float = 0.0

    @classmethod
    def of(cls, ground: Ground, share: float) -> Self:
        """Up to now."""
        noted = ground.strangers_bytes, list(ground.amplification), Counter(ground.done)
        return cls(*noted, round(share, 3))

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(vars(self))

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """Read what `to_line` wrote. Raises ValueError."""
        try:
            read = json.loads(line)
            return cls(**{**read, "done": Counter(read["done"])})
        except (KeyError, TypeError) as error:
            raise ValueError("no notes of attackers") from error
