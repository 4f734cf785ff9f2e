"""What a generator process has to do: which calls, to where, from when to when."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loadtest.live.speaking import Kind

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=10_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
MAX_CALLS = 10_000


class Strict(BaseModel):
    """A table of a scenario: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(Strict):
    """What lies between a caller and the relay, each way; nothing by default."""

    delay_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    """More delay, uniform from 0 to this; packets overtake each other."""
    loss: Share = 0
    burst: Annotated[float, Field(ge=1, le=1000)] = 1
    """Packets that are lost in a row, on average."""
    reorder: Share = 0
    """This share comes 30 ms later."""
    duplicate: Share = 0
    nat_rebind_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """The caller's address changes each time these many seconds have passed."""

    @property
    def clean(self) -> bool:
        """Whether packets go through as they are."""
        return not (self.delay_ms or self.jitter_ms or self.loss or self.reorder or self.duplicate)


class Mix(Strict):
    """One kind of caller and its share of all calls."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    share: Annotated[float, Field(gt=0, le=1000)] = 1
    """By weight: two mixes with 3 and 1 are three quarters and one quarter of the calls."""
    speaks: Kind = "always"
    call_s: Seconds | None = None
    """Length of a call; without it calls last to the end of the run."""
    call_length: Literal["random", "fixed"] = "random"
    """`random`: `call_s` is the mean of an exponential; `fixed`: every call is that long."""
    leaves: Literal["hangs_up", "vanishes"] = "hangs_up"
    """`vanishes`: it falls silent without a word, as a phone in a tunnel."""
    backend: str | None = None
    """Name of the backend to ask for; by default the fleet chooses."""
    network: Network = Network()


class Point(Strict):
    """How many calls there should be at a moment; in between, the number changes steadily."""

    at_s: Annotated[float, Field(ge=0, le=86_400)]
    calls: Annotated[int, Field(ge=0, le=MAX_CALLS)]


class Retry(Strict):
    """What a caller does that was refused."""

    policy: Literal["retry_after", "at_once", "never"] = "retry_after"
    """`retry_after` does what the answer says (1 s if it says nothing); `at_once` is naive."""
    patience_s: Seconds = 30
    """It gives up after this and another caller takes its place."""


Arrivals = Annotated[float, Field(gt=0, le=1000)]
"""Callers a second, by chance, as long as the ramp lets them: then a call that ends is not replaced
and who was refused is gone, as callers are who do not know of each other."""


class Order(Strict):
    """Everything one generator process needs. `index` of `processes`; calls are dealt in turns."""

    urls: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    api_key: str = Field(repr=False)
    ramp: Annotated[tuple[Point, ...], Field(min_length=1, max_length=1000)]
    mixes: Annotated[tuple[Mix, ...], Field(min_length=1, max_length=32)]
    retry: Retry = Retry()
    arrivals_per_s: Arrivals | None = None
    seconds: Seconds
    dead_after_s: Seconds
    index: Annotated[int, Field(ge=0)] = 0
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    seed: int = 1

    @model_validator(mode="after")
    def _check(self) -> Order:
        if self.index >= self.processes:
            raise ValueError("index is below processes")
        return self

    def calls_at(self, second: float) -> int:
        """This process's part of the calls there should be."""
        whole = calls_at(self.ramp, second)
        return max(0, -(-(whole - self.index) // self.processes))


def calls_at(ramp: tuple[Point, ...], second: float) -> int:
    """The calls a ramp wants: linear between its points, level before and behind them."""
    if second <= ramp[0].at_s:
        return ramp[0].calls
    for before, after in pairwise(ramp):
        if second < after.at_s:
            part = (second - before.at_s) / (after.at_s - before.at_s)
            return math.floor(before.calls + part * (after.calls - before.calls))
    return ramp[-1].calls
