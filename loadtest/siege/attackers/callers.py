"""A customer with a good key whose calls are hostile."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import aiohttp
from google_crc32c import value as crc32c
from pylibsrtp import Error as SrtpError

from loadtest.callers.caller import Caller
from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.live.call import LiveCall
from loadtest.siege.call import hear, hostile_call
from loadtest.siege.ground import Ground, drained, udp
from loadtest.signaling import Answer, hang_up, post_offer
from wire import rtcp, rtp

CHECKED = 6  # calls at a time that check and then fall silent
CHECK_EVERY_S = 0.5
MEDIA_PPS = 1500
OFFERS_PER_S = 50


async def never_answer(ground: Ground) -> None:
    """Checks that name an address where nobody listens; what is sent there is counted."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for _ in range(CHECKED):
            group.create_task(_silent_address(ground, session))


async def _silent_address(ground: Ground, session: aiohttp.ClientSession) -> None:
    caller, sock, sent, came = Caller(ground.identity), udp(), 0, 0
    answer: Answer | None = None
    try:
        answer = await post_offer(session, ground.target, caller.offer)
        while True:
            [check] = caller.answered(answer.sdp)
            sent += sock.sendto(check, ground.map.relay)
            ground.done["addresses that never answer"] += 1
            await asyncio.sleep(CHECK_EVERY_S)
            came += drained(sock)
    except (CallFailedError, CallRefusedError):
        await asyncio.sleep(CHECK_EVERY_S)
    finally:
        came += drained(sock)
        sock.close()
        if sent:
            ground.amplification.append(came / sent)
        if answer is not None:
            with suppress(CallFailedError, aiohttp.ClientError):
                await hang_up(session, ground.target, answer)


async def never_connect(ground: Ground) -> None:
    """Offer after offer, none of which is followed by a packet."""
    name = "offers that never connect"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                tasks = {task for task in tasks if not task.done()}
                if len(tasks) < 4 * OFFERS_PER_S:
                    tasks.add(asyncio.create_task(_offer(ground, session)))
                    ground.done[name] += 1
                await asyncio.sleep(1 / OFFERS_PER_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _offer(ground: Ground, session: aiohttp.ClientSession) -> None:
    with suppress(CallFailedError, CallRefusedError):
        await post_offer(session, ground.target, Caller(ground.identity).offer)


async def odd_media(ground: Ground) -> None:
    """A call that is connected, and then sends what no client sends, all of it authentic."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(CallFailedError, CallRefusedError):
                async with hostile_call(ground, session) as call:
                    await _send_odd(ground, call)
            await asyncio.sleep(0.2)


async def _send_odd(ground: Ground, call: LiveCall) -> None:
    odd = _odd_packets(call)
    while not call.closed:
        for packet in itertools.islice(odd, MEDIA_PPS // 100):
            call.port.send(packet, time.time())
            ground.done["odd media"] += 1
        hear(call)
        await asyncio.sleep(0.01)


def _odd_packets(call: LiveCall) -> Iterator[bytes]:
    """RTP, RTCP, DTLS and SCTP of the worst shapes, for ever."""
    chance, voice, dtls = random.Random(1), call.caller.voice, call.caller.dtls
    assert voice is not None  # noqa: S101 - it is connected
    assert dtls is not None  # noqa: S101
    for number in itertools.count():
        with suppress(SrtpError):  # it will not protect a number that is too old
            yield voice.protect(_odd_rtp(chance, number))
        yield voice.protect_rtcp(chance.choice(_COMPOUNDS))
        yield chance.choice(_RECORDS)
        yield from dtls.say(_odd_sctp(chance))


def _odd_rtp(chance: random.Random, number: int) -> bytes:
    sequence = chance.choice((number & 0xFFFF, chance.getrandbits(16)))
    payload = os.urandom(chance.choice((0, 1, 3, 40, 1100)))
    packet = rtp.write(
        chance.choice((111, 63, 0)), True, sequence, chance.getrandbits(32), call_ssrc(), payload
    )
    return bytes((packet[0] | chance.choice((0, 0x20)),)) + packet[1:]


def call_ssrc() -> int:
    """Always the same: a call is heard from a bounded number of sources."""
    return 0x5EED


_BLOCK = rtcp.ReportBlock(0, 255, -1, 0xFFFF_FFFF, 1 << 31, 7, 8)
_COMPOUNDS = (
    rtcp.write([rtcp.ReceiverReport(0x5EED, (_BLOCK,) * 31)]),
    rtcp.write([rtcp.ReceiverReport(0x5EED)] * 120),
    rtcp.write([rtcp.SenderReport(0x5EED, 1, 2, 3, 4), rtcp.SourceDescription(1, "x" * 255)]),
)
_RECORDS = (
    (b"\x16\xfe\xfd" + bytes(10)) * 90,
    b"\x16\xfe\xfd" + bytes(8) + b"\x00\x0c\x01\xff\xff\xff" + bytes(8),
    b"\x17\xfe\xfd\x00\x01" + b"\xff" * 6 + b"\x00\x20" + bytes(32),
)
_CHUNKS = (
    b"\x01\x00\x00\x14" + struct.pack("!LLHHL", 1, 65536, 1024, 1024, 1),
    b"\x00\x03\x00\x11" + struct.pack("!LHHL", 7, 1, 0, 51) + b"x\x00\x00\x00",
    b"\x04\x00\x00\x08\x00\x01\x00\x04",
    b"\xc0\x00\x00\x08" + bytes(4),
    b"\x82\x00\x00\x08\x00\x0d\x00\x00",
)


def _odd_sctp(chance: random.Random) -> bytes:
    chunks = chance.choice(_CHUNKS) * chance.choice((1, 5, 50))
    packet = struct.pack("!HHL", 5000, 5000, 0) + bytes(4) + chunks[:1100]
    return packet[:8] + struct.pack("<L", crc32c(packet)) + packet[12:]
