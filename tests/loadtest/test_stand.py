from __future__ import annotations

import asyncio
from dataclasses import fields

import pytest
from pydantic import ValidationError

from launcher import StartupError
from launcher.variables import Ports
from loadtest.stand import Shape, Stand
from loadtest.stand.parts import take_ports


def test_a_shape_is_bounded() -> None:
    """No fleet without a relay, none of seventeen, and no setting that is none of ours."""
    for bad in ({"relays": 0}, {"transceivers": 17}, {"variables": {"PATH": "x"}}, {"pods": 3}):
        with pytest.raises(ValidationError):
            Shape.model_validate(bad)


def test_no_port_is_taken_twice() -> None:
    """Every process of a fleet gets ports of its own, all from one draw."""
    redis, ports = take_ports(Shape(relays=3, transceivers=3))
    of_processes = [value for one in ports for value in vars(one).values()]
    assert len(redis) == 6
    assert len(of_processes) == 3 * len(fields(Ports))
    assert len({*redis, *of_processes}) == len(redis) + len(of_processes)


async def test_a_fleet_of_several() -> None:
    """Two of each start, know each other, advertise all relays in turns, and end."""
    async with Stand(Shape(relays=2, transceivers=2, backends=2)) as stand:
        assert len(stand.names("relay")) == len(stand.targets) == 2
        lists = [
            stand.setting(name, "TRUNKLINE_TRANSCEIVER_RELAYS").split(",")
            for name in stand.names("transceiver")
        ]
        assert lists[0] == lists[1][::-1]
        assert await stand.resolve("redis_master") == "redis-1"
        with pytest.raises(StartupError, match=r"relay-3: no such part; there are redis-1"):
            await stand.resolve("relay-3")
        keepers = dict(stand.keepers)
    assert not any(keeper.running for keeper in keepers.values())


async def test_a_part_that_is_killed_stays_down_when_asked_to() -> None:
    """It is not started again until somebody does, and then it is the same part."""
    async with Stand(Shape()) as stand:
        await stand.kill("backend-1", stay_down=True)
        assert not stand.keepers["backend-1"].running
        await stand.start("backend-1")
        assert stand.keepers["backend-1"].running


@pytest.mark.slow
async def test_redis_fails_over() -> None:
    """The master killed, the sentinels agree on another; the old one comes back below it."""
    async with Stand(Shape(redis="sentinel")) as stand:
        master = await stand.resolve("redis_master")
        assert master == "redis-1"
        await stand.kill(master, stay_down=True)
        async with asyncio.timeout(30):
            while await stand.resolve("redis_master") == master:
                await asyncio.sleep(0.1)
        await stand.start(master)
        assert await stand.resolve("redis_master") != master
