"""`--chaos`: one fleet, and one random fault after another, until the time is over."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from loadtest.benchmark import Check, Result
from loadtest.stand import Stand
from loadtest.survive.faults import FAULTS, SHAPE, complete
from loadtest.survive.trial import Callers, Seen, endure


async def rampage(
    names: Sequence[str], calls: int, seconds: float, log: TextIO | None = None
) -> tuple[Mapping[str, Seen], Result]:
    """Do it, with the faults that fit this fleet. Raises StartupError, CallFailedError."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # printed, so that a run can be done again
    fit = [name for name in names if name in FAULTS and FAULTS[name].shape == SHAPE]
    seen = {name: Seen(FAULTS[name]) for name in fit}
    ends_s = time.time() + seconds
    async with Stand(SHAPE, log) as stand:
        await complete(stand)
        async with Callers(stand, calls) as callers:
            while time.time() < ends_s:
                name = chance.choice(fit)
                await endure(stand, callers, FAULTS[name], 1, into=seen[name])
    return seen, judge_chaos(seen, seed)


def judge_chaos(seen: Mapping[str, Seen], seed: int) -> Result:
    """What was lost; the gaps have their bars in the faults' own runs."""
    lost = sum(one.lost_calls + one.bystanders_lost for one in seen.values())
    faults = sum(one.repeats for one in seen.values())
    stale = sum(one.stale_packets for one in seen.values())
    return Result(
        figures={
            "chaos_seed": seed,
            "chaos_faults": faults,
            "chaos_calls": sum(one.struck for one in seen.values()),
            "chaos_lost_calls": lost,
            "chaos_stale_packets": stale,
            "chaos_lost_by_fault": {
                name: one.lost_calls + one.bystanders_lost for name, one in seen.items()
            },
        },
        checks=[
            Check("chaos: faults were done", faults > 0, f"{faults} faults"),
            Check("chaos_lost_calls", lost == 0, f"{lost}, bar: at most 0"),
            Check("chaos_stale_packets", stale == 0, f"{stale}, bar: at most 0"),
        ],
    )
