"""How many callers at once the local agent answers in time, on one core."""

from __future__ import annotations

from launcher import StartupError
from loadtest.benchmark import Check, Result
from loadtest.percentiles import percentile
from loadtest.relay_bench.cores import Cores, choose_cores, pin, pinned
from loadtest.target import Target
from loadtest.voice_bench.conversation import TurnHeard
from loadtest.voice_bench.measure import talk
from loadtest.voice_bench.script import QUESTIONS, Speaker

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 20)
IN_TIME_MS = 1500.0  # voice to voice; later, callers ask whether somebody is there
HELD = 0.9  # of the turns are answered in time, or there are too many callers


async def callers_at_once(target: Target, turns: int, callers: int) -> Result:
    """More and more callers, until a tenth of the turns is answered too late.

    Each asks again as soon as it has heard its answer, which no crowd of people does. `turns` are
    those of each caller, `callers` the most that are tried. The agent is pinned to one core, all
    else (callers too) to another, but for relay workers, which choose theirs.
    """
    cores = choose_cores()
    _give_the_agent_a_core(target, cores)
    with pinned(cores.load):
        return await _more_and_more(target, turns, callers)


async def _more_and_more(target: Target, turns: int, callers: int) -> Result:
    speaker = Speaker()
    questions = [speaker.say(question) for question in QUESTIONS]
    held, steps = 0, {}
    for at_once in (step for step in STEPS if step <= callers):
        asked = [questions[n % len(questions)] for n in range(at_once * turns)]
        heard = await talk(target, asked, at_once)
        share = _in_time(heard)
        steps[str(at_once)] = _figures(heard, share)
        if share < HELD:
            break
        held = at_once
    return Result(
        figures={"callers_held": held, "in_time_ms": IN_TIME_MS, **_named(steps)},
        checks=[Check("a caller is answered in time", held > 0, f"{held} held")],
    )


def _give_the_agent_a_core(target: Target, cores: Cores) -> None:
    if target.stack is None:
        raise StartupError("only an agent of our own can be given a core")
    for name, keeper in target.stack.parts.items():
        pin(keeper.pid, cores.forwarder if name == "backend" else cores.load)


def _in_time(heard: list[TurnHeard]) -> float:
    in_time = [turn.voice_ms is not None and turn.voice_ms <= IN_TIME_MS for turn in heard]
    return sum(in_time) / len(in_time)


def _figures(heard: list[TurnHeard], share: float) -> dict[str, float | None]:
    voice_ms = [turn.voice_ms for turn in heard if turn.voice_ms is not None]
    p50, p90 = (round(percentile(voice_ms, at), 1) if voice_ms else None for at in (50, 90))
    return {"in_time": round(share, 3), "p50": p50, "p90": p90}


def _named(steps: dict[str, dict[str, float | None]]) -> dict[str, object]:
    return {f"callers_{at_once}": figures for at_once, figures in steps.items()}
