"""What the doctor knows: where things are, and the clock to compare others with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cli.reach import Reach


@dataclass(frozen=True)
class Surroundings:
    """One fleet as seen from here. `unix_s` is this machine's clock."""

    reach: Reach
    url: str
    api_key: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    cluster: int = 0
    certificate: Path | None = None
    unix_s: Callable[[], float] = time.time
