"""Turns calls that cannot be placed into a result, instead of a traceback."""

from __future__ import annotations

from collections import Counter
from functools import wraps

from loadtest.benchmark import Check, Limits, Progress, Result, Run
from loadtest.errors import CallFailedError
from loadtest.target import Target


def guarded(run: Run) -> Run:
    """Return `run` with the first call that fails turned into a check that did not hold."""

    @wraps(run)
    async def guarded_run(target: Target, limits: Limits, progress: Progress) -> Result:
        try:
            return await run(target, limits, progress)
        except CallFailedError as error:
            check = Check("calls can be placed", passed=False, detail=error.reason)
            return Result(failures=Counter({error.reason: 1}), checks=[check])

    return guarded_run
