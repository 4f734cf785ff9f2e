"""The short form of `python -m tests.fuzz`: every row with some inputs, always the same ones."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.fuzz.campaign import Finding, Moment, RowCampaign, Run
from tests.fuzz.row import Row, plain
from tests.fuzz.rows import ROWS
from tests.fuzz.targets import TARGETS

COUNT = int(os.environ.get("TRUNKLINE_FUZZ_INPUTS", "1500"))


def thrown_at(row: Row, seed: int, count: int = COUNT) -> RowCampaign:
    """A campaign that is over. Raises Finding."""

    async def run() -> RowCampaign:
        campaign = RowCampaign(row, seed)
        try:
            await campaign.throw(count)
        finally:
            await campaign.close()
        return campaign

    return asyncio.run(run())


@pytest.mark.parametrize("name", ROWS)
def test_only_documented_exceptions_leave_a_parser(name: str) -> None:
    """Whatever comes is read, or refused by an exception that the parser documents."""
    assert thrown_at(ROWS[name], seed=1).thrown == COUNT


@pytest.mark.parametrize("name", ROWS)
def test_seeds_are_what_a_parser_takes(name: str) -> None:
    """Seeds get through, most of them: damage to what is refused anyway would find little."""

    async def taken() -> int:
        row = ROWS[name]
        async with row.open() as read:
            return sum(_read(row, read, seed) for seed in row.seeds)

    assert asyncio.run(taken()) >= len(ROWS[name].seeds) / 2


def _read(row: Row, read: object, seed: bytes) -> bool:
    try:
        read(seed)  # type: ignore[operator]
    except row.refusals:
        return False
    return True


def test_a_finding_says_the_input() -> None:
    """What is not documented ends the run, with the bytes that lead to it again."""

    def fragile(data: bytes) -> None:
        assert b"\x80" not in data

    kind = next(iter(ROWS.values()))
    row = Row("fragile", kind.where, "nobody", 100, 1, "", plain(fragile), (b"abc",), kind.worst)
    with pytest.raises(Finding) as found:
        thrown_at(row, seed=1, count=100_000)
    assert b"\x80" in found.value.data


def test_the_same_seed_finds_the_same_again() -> None:
    """Two runs of one seed refuse the same inputs."""
    row = ROWS["SDP offers"]
    assert thrown_at(row, 5, 300).refused == thrown_at(row, 5, 300).refused


def test_a_run_over_everything_gives_each_target_its_share() -> None:
    """All targets are thrown at in each lot, and the process is looked at after it."""
    moments: list[Moment] = []

    async def run() -> None:
        campaigns = [make(3) for make in TARGETS.values()]
        try:
            await Run(campaigns, moments.append, lot=2000).throw(4000)
        finally:
            for campaign in campaigns:
                await campaign.close()
        assert all(getattr(campaign, "thrown", 1) for campaign in campaigns)

    asyncio.run(run())
    assert [moment.thrown for moment in moments] == [2000, 4000]
