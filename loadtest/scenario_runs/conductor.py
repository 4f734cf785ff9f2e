"""Runs a scenario: it starts the fleet and the callers, and makes the faults in time."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fleet.ending import ending
from launcher import StartupError
from loadtest.live.order import Order
from loadtest.scenario_runs.faults import inflict
from loadtest.scenario_runs.flows import flowing, variables
from loadtest.scenario_runs.generators import GeneratorProcess, generators
from loadtest.scenario_runs.scenario_file import Fault, ScenarioFile
from loadtest.scenario_runs.timeline import Moment, Timeline
from loadtest.scenario_runs.usage import UsageMeter
from loadtest.scenario_runs.verdict import InjectedFault
from loadtest.stand import Shape, Stand
from loadtest.stand.redis import commands_processed
from loadtest.target import Target

LEAD_S = 0.5
OVERTIME_S = 60.0
"""What generators may take longer than the run, to hang up and to tell the rest."""


class Watcher(Protocol):
    """Is told how the run goes."""

    def stage(self, text: str) -> None:
        """Name what is being done now."""

    def moment(self, moment: Moment) -> None:
        """One more second is complete."""

    def fault(self, name: str, at_s: float) -> None:
        """A fault is being done."""


@dataclass
class Run:
    """What was seen. `log` is the end of the fleet's own log."""

    moments: list[Moment] = field(default_factory=list)
    faults: list[InjectedFault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    redis_commands: int | None = None
    """What a single Redis was asked during the run; None with sentinels or without a stand."""


async def conduct(scenario: ScenarioFile, watcher: Watcher) -> Run:
    """Run a scenario to its end. Raises StartupError when something cannot be started."""
    watcher.stage("starting")
    async with _targets(scenario) as (targets, stand):
        async with generators(_orders(scenario, targets)) as started:
            watcher.stage("running")
            before = await _redis_commands(stand)
            run = await _run(scenario, stand, started, watcher)
            after = await _redis_commands(stand)
            if before is not None and after is not None:
                run.redis_commands = max(0, after - before)
        watcher.stage("ending")
        if stand is not None:
            run.log = list(stand.log.lines)
    return run


async def _redis_commands(stand: Stand | None) -> int | None:
    if stand is None or stand.shape.redis != "single":
        return None
    return await commands_processed(stand.setting("relay-1", "TRUNKLINE_REDIS_URL"))


@asynccontextmanager
async def _targets(
    scenario: ScenarioFile,
) -> AsyncIterator[tuple[Sequence[Target], Stand | None]]:
    if scenario.stand is not None:
        async with Stand(_shape(scenario, scenario.stand)) as stand, flowing(stand, scenario.flows):
            yield stand.targets, stand
        return
    assert scenario.target is not None  # noqa: S101 - the file was checked
    variable = scenario.target.api_key_variable
    key = os.environ.get(variable)
    if not key:
        raise StartupError(f"{variable}: is not set; it is the API key of the target")
    yield [Target(url.rstrip("/"), key) for url in scenario.target.urls], None


def _shape(scenario: ScenarioFile, shape: Shape) -> Shape:
    """The stand with room for the synthetic flows; what the file says itself wins."""
    if scenario.flows is None:
        return shape
    return shape.model_copy(update={"variables": {**variables(scenario.flows), **shape.variables}})


def _orders(scenario: ScenarioFile, targets: Sequence[Target]) -> list[Order]:
    return [
        Order(
            urls=tuple(target.url for target in targets),
            api_key=targets[0].api_key,
            ramp=scenario.ramp,
            mixes=scenario.mix,
            retry=scenario.retry,
            arrivals_per_s=scenario.arrivals_per_s,
            seconds=scenario.seconds,
            dead_after_s=scenario.dead_after_s,
            index=index,
            processes=scenario.processes,
            seed=scenario.seed,
        )
        for index in range(scenario.processes)
    ]


async def _run(
    scenario: ScenarioFile,
    stand: Stand | None,
    started: Sequence[GeneratorProcess],
    watcher: Watcher,
) -> Run:
    start_s = time.time() + LEAD_S
    timeline, run = Timeline(len(started)), Run()
    for generator in started:
        generator.begin(start_s)
    async with asyncio.TaskGroup() as tasks, ending() as running:
        if stand is not None:
            running.append(tasks.create_task(_meter(stand, started, timeline, start_s)))
        faults = [
            tasks.create_task(_inflict(stand, fault, start_s, run, watcher))
            for fault in scenario.fault
            if stand is not None
        ]
        running.extend(faults)
        async with asyncio.timeout(scenario.seconds + OVERTIME_S):
            await asyncio.gather(*(_read(one, timeline, watcher) for one in started), *faults)
    run.moments = timeline.moments
    run.faults.sort(key=lambda fault: fault.at_s)
    return run


async def _read(generator: GeneratorProcess, timeline: Timeline, watcher: Watcher) -> None:
    async for tally in generator.tallies():
        moment = timeline.add(tally)
        if moment is not None:
            watcher.moment(moment)


async def _inflict(stand: Stand, fault: Fault, start_s: float, run: Run, watcher: Watcher) -> None:
    await asyncio.sleep(max(0.0, start_s + fault.at_s - time.time()))
    watcher.fault(fault.name, fault.at_s)
    run.faults.append(await inflict(stand, fault, start_s))


async def _meter(
    stand: Stand, started: Sequence[GeneratorProcess], timeline: Timeline, start_s: float
) -> None:
    meter, second = UsageMeter(), 0
    while True:
        await asyncio.sleep(max(0.0, start_s + second - time.time()))
        usage = await asyncio.to_thread(meter.read, _pids(stand, started))
        if second:  # the first reading is since before the run
            timeline.note_usage(second - 1, usage)
        second += 1


def _pids(stand: Stand, started: Sequence[GeneratorProcess]) -> dict[str, list[int]]:
    pids: dict[str, list[int]] = {"callers": [generator.pid for generator in started]}
    for name, keeper in stand.keepers.items():
        if keeper.running:
            pids.setdefault(name.rpartition("-")[0], []).append(keeper.pid)
    return pids
