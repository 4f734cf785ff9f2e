"""Runs of the fuzzers: one row or all of them, so many inputs, always the same for a seed.

Campaign   throws inputs at something, in lots; raises Finding for what is not documented
Lots       one row after another, each with its share of a lot, so that a run that is cut short
           has tried all of them
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.fuzz.row import Reader, Row

TURN = 256
"""Inputs between two turns of the event loop, in which what a reader began goes on."""


class Finding(Exception):  # noqa: N818 - what a fuzzer is for
    """An exception that is not documented; the text has what leads to it again."""

    def __init__(self, row: str, data: bytes, error: BaseException) -> None:
        self.row, self.data, self.error = row, data, error
        super().__init__(f"{row}: {type(error).__name__}: {error}\n  input {data!r}")


class Campaign(Protocol):
    """Whatever throws inputs. `name` and `weight` are for runs over all."""

    name: str
    weight: int

    async def throw(self, count: int) -> None:
        """Throw so many more, or a few more than that. Raises what it finds."""

    async def close(self) -> None:
        """Let go."""


class RowCampaign:
    """Mutated inputs against one row; a fresh reader now and then."""

    def __init__(self, row: Row, seed: int) -> None:
        self.name, self.weight = row.name, row.weight
        self.refused = self.thrown = 0
        self._row = row
        self._source = row.inputs(random.Random(f"{seed} {row.name}"))
        self._stack = AsyncExitStack()
        self._reader: Reader | None = None
        self._left = 0

    async def throw(self, count: int) -> None:
        """As `Campaign.throw`. Raises Finding."""
        while count > 0:
            if self._left <= 0 or self._reader is None:
                await self._renew()
            turn = min(count, self._left, TURN)
            self._turn(turn)
            await asyncio.sleep(0)
            count -= turn
            self._left -= turn

    async def close(self) -> None:
        """Let go of the reader."""
        await self._stack.aclose()
        self._reader = None

    async def _renew(self) -> None:
        await self.close()
        self._stack = AsyncExitStack()
        self._reader = await self._stack.enter_async_context(self._row.open())
        self._left = self._row.renew_after

    def _turn(self, count: int) -> None:
        reader, source, refusals = self._reader, self._source, self._row.refusals
        assert reader is not None
        for _ in range(count):
            data = source()
            try:
                reader(data)
            except refusals:
                self.refused += 1
            except Exception as error:
                raise Finding(self.name, data, error) from error
        self.thrown += count


def resident_mib() -> float:
    """What this process holds of the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@dataclass(frozen=True)
class Moment:
    """How far a run is, and what it holds."""

    thrown: int
    passed_s: float
    blocks: int
    resident_mib: float


@dataclass
class Run:
    """A run over campaigns; `tell` hears of each lot."""

    campaigns: Sequence[Campaign]
    tell: Callable[[Moment], None]
    lot: int = 250_000
    moments: list[Moment] = field(default_factory=list)

    async def throw(self, count: int) -> None:
        """Throw `count` inputs, each campaign its share by weight. Raises what is found."""
        began_s, thrown = time.monotonic(), 0
        weights = sum(campaign.weight for campaign in self.campaigns)
        while thrown < count:
            lot = min(self.lot, count - thrown)
            for campaign in self.campaigns:
                await campaign.throw(-(-lot * campaign.weight // weights))
            thrown += lot
            self._note(thrown, time.monotonic() - began_s)

    def _note(self, thrown: int, passed_s: float) -> None:
        gc.collect()
        moment = Moment(thrown, passed_s, sys.getallocatedblocks(), resident_mib())
        self.moments.append(moment)
        self.tell(moment)

    @property
    def growth_mib(self) -> float:
        """What the second half of the run added: bounded memories are full by then."""
        if len(self.moments) < 4:
            return 0.0
        later = self.moments[len(self.moments) // 2 :]
        return later[-1].resident_mib - later[0].resident_mib
