"""The fleet as arrays: a row a node, steps of time, and what happens in each. Pure.

    each step   calls end · callers come, and those come back who were refused
                nodes become ready, fail, are drained, go
    placing     callers go to nodes by their free room, as a load balancer with readiness deals
                them; what finds no room is refused and tries again, some times

When a call ends is known when it begins: `ends[node, step]` counts them, as a ring. So a step costs
the same for ten calls as for ten thousand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loadtest.simulate.autoscaler import Autoscaler
from loadtest.simulate.settings import DAY_S, Settings

Counts = npt.NDArray[np.int64]

LONGEST_CALL = 20
"""In mean lengths; one exponential in five hundred million is longer."""
OFF, STARTING, SERVING, DRAINING = range(4)


@dataclass
class Day:
    """What happened: counts of calls, and levels by step."""

    offered: int = 0
    placed: int = 0
    completed: int = 0
    refused: int = 0
    gave_up: int = 0
    lost: int = 0
    cut: int = 0
    failures: int = 0
    drains: int = 0
    live: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)


class Fleet:
    """One run of a simulation; `run` returns its day."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = np.random.default_rng(settings.seed)
        nodes = settings.most_nodes
        self._state = np.full(nodes, OFF)
        self._since = np.zeros(nodes, np.int64)
        self._live: Counts = np.zeros(nodes, np.int64)
        self._horizon = settings.in_ticks(LONGEST_CALL * settings.mean_call_s) + 2
        self._ends: Counts = np.zeros((nodes, self._horizon), np.int64)
        self._state[: settings.first_nodes] = SERVING
        self._retries: deque[Counts] = deque(
            np.zeros(settings.tries, np.int64) for _ in range(settings.in_ticks(settings.retry_s))
        )
        self._scaler = Autoscaler(
            settings.node_calls,
            settings.target_share,
            round(settings.settle_s / settings.scale_every_s),
            settings.first_nodes,
            nodes,
        )
        self.day = Day()

    def run(self) -> Day:
        """Live through the whole run."""
        settings = self._settings
        arrivals = self._random.poisson(rates(settings) * settings.tick_s)
        failing = self._moments(settings.failures)
        deploys = self._moments(settings.deploys)
        every = settings.in_ticks(settings.scale_every_s)
        for tick in range(settings.ticks):
            self._finish(tick)
            self._advance(tick)
            for _ in range(int(failing[tick])):
                self._fail(tick)
            if deploys[tick]:
                self._deploy(tick)
            if settings.autoscale and tick % every == 0:
                self._scale(tick)
            self._come(int(arrivals[tick]), tick)
            self.day.live.append(int(self._live.sum()))
            self.day.nodes.append(int((self._state != OFF).sum()))
        return self.day

    def _moments(self, count: int) -> Counts:
        """How often something happens in each step, at times by chance."""
        return np.bincount(
            self._random.integers(0, self._settings.ticks, count), minlength=self._settings.ticks
        )

    # Time.

    def _finish(self, tick: int) -> None:
        column = self._ends[:, tick % self._horizon]
        self.day.completed += int(column.sum())
        self._live -= column
        column[:] = 0

    def _advance(self, tick: int) -> None:
        """Nodes that have started serve; drained ones go when they are empty or out of time."""
        waited = (tick - self._since) * self._settings.tick_s
        self._state[(self._state == STARTING) & (waited >= self._settings.start_s)] = SERVING
        late = (self._state == DRAINING) & (waited >= self._settings.drain_s)
        self.day.cut += int(self._live[late].sum())
        self._empty(np.flatnonzero(late))
        gone = (self._state == DRAINING) & (self._live == 0)
        self._state[gone] = OFF

    def _empty(self, nodes: npt.NDArray[np.int64]) -> None:
        self._live[nodes] = 0
        self._ends[nodes] = 0

    # Events.

    def _fail(self, tick: int) -> None:
        """A node dies; some of its calls, or all, are lost, the others go on elsewhere."""
        there = np.flatnonzero((self._state == SERVING) | (self._state == DRAINING))
        if not len(there):
            return
        node = self._random.choice(there, 1)
        self.day.failures += 1
        calls = int(self._live[node].sum())
        lost = int(self._random.binomial(calls, self._settings.lost_on_failure))
        self._empty(node)
        self._restart(node, tick)
        self.day.lost += lost
        moved = self._place(calls - lost, tick)
        self.day.lost += calls - lost - moved

    def _deploy(self, tick: int) -> None:
        """A rolling upgrade: every node is drained once, a new one beside each."""
        serving = np.flatnonzero(self._state == SERVING)
        self._start(len(serving), tick)
        self._drain(serving, tick)

    def _scale(self, tick: int) -> None:
        there = int(((self._state == SERVING) | (self._state == STARTING)).sum())
        wanted = self._scaler.wanted(int(self._live.sum()), there)
        if wanted > there:
            self._start(wanted - there, tick)
        elif wanted < there:
            serving = np.flatnonzero(self._state == SERVING)
            emptiest = serving[np.argsort(self._live[serving])]
            self._drain(emptiest[: there - wanted], tick)

    def _start(self, count: int, tick: int) -> None:
        off = np.flatnonzero(self._state == OFF)[:count]
        self._restart(off, tick)

    def _restart(self, nodes: npt.NDArray[np.int64], tick: int) -> None:
        self._state[nodes] = STARTING
        self._since[nodes] = tick

    def _drain(self, nodes: npt.NDArray[np.int64], tick: int) -> None:
        self._state[nodes] = DRAINING
        self._since[nodes] = tick
        self.day.drains += len(nodes)

    # Calls.

    def _come(self, fresh: int, tick: int) -> None:
        """Newcomers and those who come back, by how often they tried; who finds no room waits."""
        self.day.offered += fresh
        trying = self._retries.popleft()
        trying[0] += fresh
        waiting = int(trying.sum())
        placed = self._place(waiting, tick)
        self.day.placed += placed
        self.day.refused += waiting - placed
        left = trying - self._random.multivariate_hypergeometric(trying, placed)
        self.day.gave_up += int(left[-1])
        self._retries.append(np.concatenate([[0], left[:-1]]))

    def _place(self, calls: int, tick: int) -> int:
        """Deal calls to free places, each as likely as the other; returns how many found one."""
        serving = np.flatnonzero(self._state == SERVING)
        free = np.maximum(self._settings.node_calls - self._live[serving], 0)
        placed = min(calls, int(free.sum()))
        if placed <= 0:
            return 0
        dealt = self._random.multivariate_hypergeometric(free, placed)
        nodes = np.repeat(serving, dealt)
        self._live[serving] += dealt
        np.add.at(self._ends, (nodes, (tick + self._lengths(placed)) % self._horizon), 1)
        return placed

    def _lengths(self, count: int) -> Counts:
        """Lengths of calls in steps, from 1 to just below the ring's."""
        seconds = self._random.exponential(self._settings.mean_call_s, count)
        steps = np.ceil(seconds / self._settings.tick_s - self._random.random(count))
        return np.clip(steps, 1, self._horizon - 1).astype(np.int64)


def rates(settings: Settings) -> npt.NDArray[np.float64]:
    """Callers a second in each step: a wave over the day, low at midnight."""
    at_s = np.arange(settings.ticks) * settings.tick_s
    swing = settings.peak_ratio - 1
    mean = settings.calls / settings.seconds
    wave: npt.NDArray[np.float64] = mean * (1 - swing * np.cos(2 * np.pi * at_s / DAY_S))
    return wave
