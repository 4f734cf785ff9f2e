"""Strangers at the relay's public port: they have no call, and must get no byte."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Sequence
from contextlib import suppress

import aiohttp

from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.relay_bench import packets
from loadtest.relay_bench.attacks import VARIETY
from loadtest.siege.call import hostile_call
from loadtest.siege.ground import Ground, drained, udp
from wire.keys import KEY_BYTES, KeyRing
from wire.token import Route

RATE_PPS = 4000
PACE_S = 0.005
STARTS = (b"", b"\x80\x6f", b"\x16\xfe\xfd", b"\x00\x01")


async def garbage(ground: Ground) -> None:
    """Random bytes, some of which begin like STUN, RTP or DTLS, of all lengths."""
    made = [
        start + os.urandom(length) for start in STARTS for length in (0, 1, 11, 20, 160, 1200, 1900)
    ]
    await _throw(ground, "garbage", made)


async def forged_checks(ground: Ground) -> None:
    """Checks signed with keys that are not the fleet's, and some with hundreds of attributes."""
    strange = KeyRing(1, {1: os.urandom(KEY_BYTES)})
    made = [packets.check(strange, Route(0, node % 4, node)) for node in range(VARIETY // 8)]
    await _throw(ground, "forged checks", [*made, *map(_bloated, made[:64])])


async def replayed_checks(ground: Ground) -> None:
    """The check of a call that is live, said again by somebody else."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(CallFailedError, CallRefusedError):
                async with hostile_call(ground, session) as call:
                    await _throw(ground, "replayed checks", [call.caller.check])
            await asyncio.sleep(0.2)  # others of its tenant have taken all places


def _bloated(check: bytes) -> bytes:
    """The check with attributes of no length before its own."""
    extra = b"\x80\x99\x00\x00" * 300
    length = len(check) - 20 + len(extra)
    return check[:2] + length.to_bytes(2) + check[4:20] + extra + check[20:]


async def _throw(ground: Ground, name: str, made: Sequence[bytes]) -> None:
    """Send in turn, from a few addresses; what comes back is counted."""
    socks = [udp() for _ in range(4)]
    source = itertools.cycle(made)
    try:
        while True:
            for sock, _ in zip(itertools.cycle(socks), range(int(RATE_PPS * PACE_S)), strict=False):
                _send(sock, next(source), ground)
                ground.done[name] += 1
            await asyncio.sleep(PACE_S)
            ground.strangers_bytes += sum(map(drained, socks))
    finally:
        ground.strangers_bytes += sum(map(drained, socks))
        for sock in socks:
            sock.close()


def _send(sock: socket.socket, packet: bytes, ground: Ground) -> None:
    with suppress(BlockingIOError, ConnectionError):  # a full buffer of our own
        sock.sendto(packet, ground.map.relay)
