"""When a turn is told: as its answer begins to leave, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.agent.current_answer import CurrentAnswer
from backends.agent.reply import Asked, Reply
from backends.agent.stages import Stamps, TurnRecord
from backends.agent.tools import Toolbox
from tests.backends.agent.stand_ins import models


class Told:
    """What `given` told, as it was then."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        reply = Reply("call_1", Asked(()), models(), Toolbox())
        record = TurnRecord(3, Stamps(voiced=10.0, ended=10.2))
        self.given = CurrentAnswer(
            reply, record, lambda record: self.records.append(record.shown())
        )

    @property
    def stages(self) -> list[dict[str, float]]:
        return [record["stages_ms"] for record in self.records]

    @property
    def finals(self) -> list[bool]:
        return [record["final"] for record in self.records]


def test_a_turn_is_told_when_its_first_frame_has_left_and_when_it_is_over() -> None:
    """Once each, with what is known of the making by then; what comes later changes nothing."""
    told = Told()
    given, reply = told.given, told.given.reply
    given.left(7, 10.3)
    assert not given.sounds
    reply.tools_run.append("look_up")
    reply.stamps.tool_started = 10.25
    given.sent(7, 10.4)
    given.sent(8, 10.42)
    given.left(7, 10.43)  # frames before it
    assert given.sounds and told.records == []
    given.left(8, 10.5)
    given.left(9, 10.52)
    reply.stamps.tool_ended = 10.6
    given.over()
    given.over(interrupted=True)
    given.left(10, 10.7)
    first = {"ended": 200.0, "tool_started": 250.0, "sent": 400.0, "out": 500.0}
    assert told.stages == [first, {**first, "tool_ended": 600.0}]
    assert told.finals == [False, True]
    assert told.records[1]["tools"] == ["look_up"]
    assert not told.records[1]["interrupted"]


@pytest.mark.parametrize("sounds", [False, True])
def test_an_answer_of_which_nothing_left_is_told_once(sounds: bool) -> None:
    """Written, failed, or given up before the transceiver said that it begins: over."""
    told = Told()
    if sounds:
        told.given.sent(0, 10.4)
    told.given.over(interrupted=True)
    told.given.left(1, 10.5)
    assert told.finals == [True]
    assert told.records[0]["interrupted"]
    assert "out" not in told.stages[0]


def test_the_clock_of_a_reply_is_its_own() -> None:
    """Two answers of one call, one silenced while the other begins, share nothing."""
    old, new = Told(), Told()
    old.given.reply.stamps = replace(old.given.reply.stamps, first_words=10.3)
    old.given.sent(0, 10.4)
    new.given.sent(1, 10.9)
    old.given.over(interrupted=True)
    new.given.left(2, 11.0)
    assert old.stages == [{"ended": 200.0, "first_words": 300.0, "sent": 400.0}]
    assert new.stages == [{"ended": 200.0, "sent": 900.0, "out": 1000.0}]
