"""A scenario file: what it may contain, and one clear line for each mistake."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from loadtest.live.order import Arrivals, Mix, Point, Retry, Seconds, Strict
from loadtest.scenario_runs.metrics import Metric
from loadtest.stand import Shape
from loadtest.stand.stand import MASTER

MAX_FILE_BYTES = 256 * 1024
SENTINEL_DOWN_S = 8.0
"""A Redis master that was killed stays away for this long: sooner, it would come back empty and
still be master, and its replicas would forget what they know."""


class ScenarioError(Exception):
    """A scenario cannot be used; `str()` is one line for each reason, with the key's path."""


class Fault(Strict):
    """Something that is done to the fleet at a moment."""

    at_s: Annotated[float, Field(ge=0, le=86_400)]
    do: Literal["kill", "kill_worker", "stop", "drain"]
    """`kill_worker` is one of a relay's; `stop` is SIGTERM; `drain` is the admin API's."""
    part: Annotated[str, Field(pattern=r"^[a-z_]+(-[0-9]+)?$")]
    """`relay-1`, `transceiver-2`, `backend-1`, `redis-1`, or `redis_master`: who leads then."""
    down_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """A part that was killed or stopped is started after this, else at once as a pod would be."""
    deadline_s: Annotated[int, Field(ge=0, le=86_400)] = 0
    """Of a drain: calls that are left then are ended; 0 is never."""
    calls_lost_max: Annotated[int, Field(ge=0)] | None = None
    """How many calls it may cost; without it any number."""

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.do} {self.part}"

    @property
    def stays_down_s(self) -> float | None:
        """How long the part is kept away; None for as long as it takes to start it again."""
        return SENTINEL_DOWN_S if self.part == MASTER and self.down_s is None else self.down_s


class Bound(Strict):
    """What a figure must not leave."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("min, max or both")
        return self


class Remote(Strict):
    """A Trunkline that is there already; faults cannot be done to it."""

    urls: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    api_key_variable: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = (
        "TRUNKLINE_LOADTEST_API_KEY"
    )
    """The environment variable that holds the key: a file is no place for it."""


class Flows(Strict):
    """Synthetic flows beside the calls: real checks and packets, nobody behind them."""

    count: Annotated[int, Field(ge=1, le=200_000)]
    packets_per_s: Annotated[int, Field(ge=1, le=1_000_000)]


class ScenarioFile(Strict):
    """The whole file. `docs/loadtest.md` tells how to write one."""

    title: Annotated[str, Field(min_length=1, max_length=120)]
    summary: Annotated[str, Field(max_length=1000)] = ""
    seconds: Seconds
    dead_after_s: Seconds = 8
    """A call that hears nothing for this long counts as lost."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Generator processes; one carries some hundreds of calls on a core."""
    seed: int = 1
    stand: Shape | None = None
    target: Remote | None = None
    ramp: Annotated[tuple[Point, ...], Field(min_length=1, max_length=1000)]
    mix: Annotated[tuple[Mix, ...], Field(min_length=1, max_length=32)]
    retry: Retry = Retry()
    arrivals_per_s: Arrivals | None = None
    flows: Flows | None = None
    fault: Annotated[tuple[Fault, ...], Field(max_length=100)] = ()
    thresholds: dict[Metric, Bound]

    @model_validator(mode="after")
    def _check(self) -> ScenarioFile:
        complaints = [*self._of_place(), *self._of_time(), *self._of_parts()]
        if complaints:
            raise ValueError("; ".join(complaints))
        return self

    def _of_place(self) -> list[str]:
        if (self.stand is None) == (self.target is None):
            return ["one of [stand] and [target]"]
        if self.stand is None and (self.fault or self.flows):
            return ["[[fault]] and [flows] need a [stand]: a target's processes are not ours"]
        return []

    def _of_time(self) -> list[str]:
        unsorted = [b for a, b in pairwise(self.ramp) if b.at_s <= a.at_s]
        late = [fault for fault in self.fault if fault.at_s >= self.seconds]
        return [
            *(f"ramp: at_s {point.at_s:g} is not after the one before" for point in unsorted),
            *(f"fault: at_s {fault.at_s:g} is not within the run" for fault in late),
        ]

    def _of_parts(self) -> list[str]:
        if self.stand is None:
            return []
        parts = parts_of(self.stand)
        return [
            *(_unknown_part(fault, parts) for fault in self.fault if fault.part not in parts),
            *(_impossible(fault) for fault in self.fault if not _possible(fault)),
        ]


def parts_of(shape: Shape) -> list[str]:
    """The parts a fault may name."""
    servers = 3 if shape.redis == "sentinel" else 1
    counts = {
        "relay": shape.relays,
        "transceiver": shape.transceivers,
        "backend": shape.backends,
        "redis": servers,
        "sentinel": servers if servers > 1 else 0,
        "talker": int(shape.talker),
    }
    numbered = [f"{kind}-{n + 1}" for kind, count in counts.items() for n in range(count)]
    return [*numbered, MASTER]


def read_scenario(path: Path) -> ScenarioFile:
    """Read and check a file. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ScenarioError(
            f"{path.name}: {(error.strerror or 'cannot be read').lower()}"
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise ScenarioError(f"{path.name}: longer than {MAX_FILE_BYTES} bytes")
    return parse_scenario(text, path.name)


def parse_scenario(text: bytes, name: str) -> ScenarioFile:
    """Check the text of a file called `name`. Raises ScenarioError."""
    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name}: not TOML: {error}") from None
    try:
        return ScenarioFile.model_validate(table)
    except ValidationError as error:
        raise ScenarioError("\n".join(_lines(name, error))) from None


def _lines(name: str, error: ValidationError) -> list[str]:
    """`file.toml: ramp.1.calls: Input should be …`, one for each mistake.

    A list with a bad item is also reported as too short; the item's own line says more.
    """
    found = error.errors(include_url=False, include_input=False)
    places = [one["loc"] for one in found]
    return [
        ": ".join((name, *filter(None, (_path(one["loc"]), _rule(one["msg"])))))
        for one in found
        if not any(len(one["loc"]) < len(p) and p[: len(one["loc"])] == one["loc"] for p in places)
    ]


def _rule(message: str) -> str:
    return message.removeprefix("Value error, ")


def _path(place: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in place if step != "[key]")


def _unknown_part(fault: Fault, parts: Sequence[str]) -> str:
    return f"fault: no part is called {fault.part}; there are {', '.join(parts)}"


def _possible(fault: Fault) -> bool:
    kind = fault.part.rpartition("-")[0]
    if fault.do == "kill_worker":
        return kind == "relay"
    return fault.do != "drain" or kind in ("relay", "transceiver", "backend")


def _impossible(fault: Fault) -> str:
    return f"fault: {fault.name}: only relays have workers; Redis does not drain"
