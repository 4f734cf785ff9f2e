"""The protocol of a move against a network and a target that do their worst. Pure, many seeds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from transceiver.moves.arrivals import MAX_REMEMBERED, PREPARED_S, REMEMBERED_S, Arrivals
from transceiver.moves.departure import COMMIT_PATIENCE_S, Departure, Stage, Verdict

SEEDS = 300
STEP_S = 0.05


@dataclass
class Target:
    """A process that may get the call; `epoch` tells one life from the next."""

    arrivals: Arrivals = field(default_factory=Arrivals)
    epoch: int = 0
    live: bool = False
    spoke: bool = False  # in this life
    dead: bool = False

    def hear(self, word: str, move: str, epoch: int, now: float) -> Verdict | bool:
        """What it answers, as `transceiver.moves.incoming` does."""
        if epoch != self.epoch:
            return Verdict.DEAD  # of the process that was asked nothing is left
        self.arrivals.expire(now)
        if word == "prepare":
            return self.arrivals.prepare(move, "call", now)
        if word == "commit" and self.arrivals.commit(move) is not None:
            self.live = self.spoke = True
            self.arrivals.went_live(move, now)
        if word == "abort":
            self.arrivals.abort(move)
        return Verdict.LIVE if self.arrivals.is_live(move) else Verdict.NOT_LIVE

    def die(self) -> None:
        """It is started again, with nothing."""
        self.arrivals, self.epoch = Arrivals(), self.epoch + 1
        self.live = False


@dataclass
class World:
    """One call, its owner, a target and the network between them."""

    chance: random.Random
    now: float = 0.0
    target: Target = field(default_factory=Target)
    on_the_way: list[tuple[float, str, str, int]] = field(default_factory=list)
    back: list[tuple[float, str, str, Verdict | bool]] = field(default_factory=list)
    may_die: bool = False
    dark: tuple[float, float] = (0.0, 0.0)  # when the network carries nothing

    def go_dark(self) -> None:
        """Now and then the network fails just behind a `prepare`, for some seconds."""
        if self.chance.random() < 0.2:
            from_s = self.now + self.chance.choice((0.01, 0.1, 0.3))
            self.dark = from_s, from_s + self.chance.choice((3.0, 6.0, 9.0, 30.0))

    def send(self, word: str, move: str, epoch: int) -> None:
        """A request, which may be lost, late, or come twice."""
        if self.dark[0] <= self.now < self.dark[1]:
            return
        for _ in range(self.chance.choice((0, 1, 1, 1, 2))):
            late_s = self.chance.choice((0.0, 0.0, 0.1, 1.0, 7.0))
            self.on_the_way.append((self.now + late_s, word, move, epoch))

    def step(self) -> list[tuple[str, str, Verdict | bool]]:
        """Time passes; the answers that arrive."""
        self.now += STEP_S
        self.target.arrivals.expire(self.now)
        if self.may_die and self.chance.random() < 0.02:
            self.target.die()
        due = [m for m in self.on_the_way if m[0] <= self.now]
        self.on_the_way = [m for m in self.on_the_way if m[0] > self.now]
        self.chance.shuffle(due)
        for _, word, move, epoch in due:
            answer = self.target.hear(word, move, epoch, self.now)
            if self.chance.random() < 0.7:
                late_s = self.chance.choice((0.0, 0.0, 0.1, 1.0))
                self.back.append((self.now + late_s, word, move, answer))
        came = [m for m in self.back if m[0] <= self.now]
        self.back = [m for m in self.back if m[0] > self.now]
        return [(word, move, answer) for _, word, move, answer in came]


def one_move(world: World, move: str) -> Departure:
    """What `transceiver.moves.outgoing` does, with time as the world has it."""
    departure, epoch = Departure(), world.target.epoch
    world.send("prepare", move, epoch)
    world.go_dark()
    give_up_s, next_s = world.now + 0.5, world.now
    while not departure.over:
        # The oracle: whoever may speak, speaks. Never both.
        here = departure.stage in (Stage.STAYED, Stage.TAKEN_BACK)
        assert not (here and world.target.live)
        answers = [a for a in world.step() if a[1] == move]
        if departure.stage is Stage.HELD:
            said = [answer for word, _, answer in answers if word == "prepare"]
            if said:
                held = world.chance.random() < 0.9
                departure.prepared(accepted=said[0] is True, still_held=held, now=world.now)
            elif world.now >= give_up_s:
                departure.prepared(accepted=False, still_held=True, now=world.now)
            next_s = world.now
            continue
        for word, _, answer in answers:
            if word == "commit" and isinstance(answer, Verdict):
                departure.answered(answer, world.now)
        if world.now >= next_s and not departure.over:
            departure.answered(Verdict.SILENT, world.now)
            world.send("commit", move, epoch)
            next_s = world.now + 0.5
    if departure.stage is Stage.STAYED:
        world.send("abort", move, epoch)
    return departure


@pytest.mark.parametrize("may_die", [False, True])
def test_no_order_of_events_makes_two_owners(may_die: bool) -> None:
    """Whatever is lost, late, doubled or dead: at the end exactly one may speak, or, if the target
    could not be asked any more, perhaps none; and a dead target's numbers are passed over."""
    ends = dict.fromkeys(Stage, 0)
    for seed in range(SEEDS):
        world = World(random.Random(seed), may_die=may_die)
        for number in range(3):  # the same call, again and again, with words of before on their way
            departure = one_move(world, f"{seed}-{number}")
            ends[departure.stage] += 1
            spoke, world.target.spoke = world.target.spoke, False
            for _ in range(200):  # everything that is on its way arrives
                world.step()
                here = departure.stage in (Stage.STAYED, Stage.TAKEN_BACK)
                assert not (here and world.target.live), seed
            if departure.stage in (Stage.STAYED, Stage.TAKEN_BACK):
                assert not spoke or departure.target_died, seed
            if departure.stage is Stage.MOVED:
                assert spoke, seed
                break
            assert departure.stage is not Stage.HELD
            if departure.stage is Stage.IN_DOUBT:
                break
    assert ends[Stage.MOVED] > SEEDS / 4
    assert ends[Stage.STAYED] > SEEDS / 20
    assert ends[Stage.TAKEN_BACK] > SEEDS / 200
    assert 0 < ends[Stage.IN_DOUBT] <= SEEDS / 5


def test_a_target_that_answers_is_never_in_doubt() -> None:
    """Silence ends in doubt after COMMIT_PATIENCE_S, and not before."""
    departure = Departure()
    departure.prepared(accepted=True, still_held=True, now=0.0)
    assert departure.answered(Verdict.SILENT, COMMIT_PATIENCE_S - 0.1) is Stage.HANDED_OFF
    assert departure.answered(Verdict.SILENT, COMMIT_PATIENCE_S) is Stage.IN_DOUBT
    assert departure.answered(Verdict.NOT_LIVE, 30.0) is Stage.IN_DOUBT


def test_an_old_owner_is_answered_for_as_long_as_it_asks() -> None:
    """What went live is remembered for longer than anybody asks."""
    assert REMEMBERED_S > COMMIT_PATIENCE_S + PREPARED_S


def test_arrivals_are_bounded() -> None:
    """Beyond the bound nothing is prepared, rather than that an answer would be forgotten."""
    arrivals = Arrivals()
    for number in range(MAX_REMEMBERED):
        assert arrivals.prepare(str(number), "call", 0.0)
        assert arrivals.commit(str(number)) == "call"
        arrivals.went_live(str(number), 0.0)
    assert not arrivals.prepare("more", "call", 0.0)
    assert arrivals.expire(REMEMBERED_S) == []
    assert arrivals.prepare("more", "call", REMEMBERED_S)
    assert not arrivals.prepare("more", "call", REMEMBERED_S)
