"""The walk of ARCHITECTURE.md names the functions that are called, in the order of the calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession

from tests.backends.kit import soon
from tests.docs.whole_path import ROOT, Step, SteppedCaller, traced, whole_path

PAGE = (ROOT / "ARCHITECTURE.md").read_text()


def walk(heading: str) -> list[Step]:
    """File and function of each step below a heading."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    steps = re.findall(r"^\d+\. `([^`]+)`, `([^`]+)`: ", section, re.MULTILINE)
    assert len(steps) == len(re.findall(r"^\d+\. ", section, re.MULTILINE)) > 10
    return [(file, function) for file, function in steps]


@dataclass(frozen=True)
class Seen:
    """What was called for each of the three, each function where it was called first."""

    offer: Sequence[Step]
    packet: Sequence[Step]
    frame: Sequence[Step]


async def observe(redis_url: str) -> Seen:
    """Place a call; then let one packet go up and one frame come down."""
    async with whole_path(redis_url) as (target, backend), ClientSession() as http:
        caller = SteppedCaller(http, target)
        with traced() as offer:
            await caller.dial()
        await caller.connect()
        call = await soon(backend.call)
        caller.say()  # the first packet finds the handshake, and the flow that has just been made
        await soon(backend.heard.get())
        with traced() as packet:
            caller.say()
            await soon(backend.heard.get())
        with traced() as frame:
            await call.send_audio(b"\xf8answer", 960)
            await soon(caller.hear())
        await caller.hang_up()
    return Seen(list(offer.steps), list(packet.steps), list(frame.steps))


def out_of_order(steps: Sequence[Step], seen: Sequence[Step]) -> list[Step]:
    """Steps that were not called, or before the step in front of them. Repeats count once."""
    wrong, last = [], -1
    for step in dict.fromkeys(steps):
        at = seen.index(step) if step in seen else -1
        if at <= last:
            wrong.append(step)
        last = max(at, last)
    return wrong


async def test_the_walk_is_what_happens(redis_url: str) -> None:
    """An offer, a packet and a model frame take the way that the page tells."""
    seen = await observe(redis_url)
    assert out_of_order(walk("One offer"), seen.offer) == []
    assert out_of_order(walk("One packet"), seen.packet) == []
    assert out_of_order(walk("One model frame"), seen.frame) == []


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [("abc", ""), ("ac", ""), ("acb", "b"), ("axc", "x"), ("ca", "a"), ("aab", "")],
)
def test_another_way_is_seen(steps: str, wrong: str) -> None:
    """A step that is missing or comes too early does not pass; one may be named twice."""
    found = out_of_order([("f", name) for name in steps], [("f", name) for name in "abc"])
    assert [name for _, name in found] == list(wrong)
