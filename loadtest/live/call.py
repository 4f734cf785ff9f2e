"""One call from offer to hang-up, on the loop of its generator."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from loadtest.callers.caller import Caller
from loadtest.callers.connecting import connect
from loadtest.callers.dtls import Identity
from loadtest.callers.port import Later, Port
from loadtest.errors import CallFailedError
from loadtest.live.line import Line
from loadtest.live.network import one_way
from loadtest.live.order import Mix
from loadtest.live.speaking import vocabulary
from loadtest.signaling import Answer, hang_up, post_offer
from loadtest.target import Target
from wire.classify import PacketKind, classify

SETUP_TIMEOUT_S = 10.0
HANG_UP_TIMEOUT_S = 5.0
CLOSE_NOTIFY_RECORD = 21  # RFC 6347 section 4.1: content type alert
TALKER = "talker"
"""The backend that answers instead of echoing (`loadtest.peers.talker`)."""


@dataclass
class LiveCall:
    """A connected call. `closed` is set when the other side says that it is over."""

    mix: Mix
    target: Target
    caller: Caller
    answer: Answer
    port: Port
    line: Line
    slot: int
    phase: int
    """Which of its 20 ms rounds are its checks'."""
    setup_s: float
    closed: bool = False

    def say(self, scheduled_s: float, now_s: float) -> None:
        """Send the next frame."""
        self.port.send(self.line.say(scheduled_s, now_s), now_s)

    def check(self, now_s: float) -> None:
        """Send a connectivity check with a transaction of its own, as browsers do."""
        [packet] = self.caller.answered(self.answer.sdp)
        self.port.send(packet, now_s)

    def hear(self, packet: bytes, seen_s: float) -> None:
        """Take whatever came."""
        kind = classify(packet)
        if kind is PacketKind.RTP:
            self.line.hear(packet, seen_s)
        elif kind in {PacketKind.DTLS, PacketKind.STUN}:
            self.closed = self.closed or packet[0] == CLOSE_NOTIFY_RECORD
            for answer in self.caller.receive(packet):
                self.port.send(answer, seen_s)


async def place(
    session: aiohttp.ClientSession,
    target: Target,
    identity: Identity,
    mix: Mix,
    later: Later,
    *,
    slot: int,
    phase: int,
    seed: int,
) -> LiveCall:
    """Place a call; returns when its keys are there. Raises CallFailedError.

    `setup_s` runs from sending the offer to having the keys: from then on the caller talks.
    """
    caller = Caller(identity)
    posted_s = time.time()
    answer = await _post(session, target, caller, mix)
    try:
        first = caller.answered(answer.sdp)
        out, back = one_way(mix.network, 2 * seed), one_way(mix.network, 2 * seed + 1)
        port = Port(caller.remote.host, caller.remote.port, later, out, back)
    except (CallFailedError, OSError) as error:
        await _leave(session, target, answer)
        raise CallFailedError(getattr(error, "reason", "no_socket")) from None
    try:
        voice = await connect(caller, port, first)
    except CallFailedError:
        port.close()
        await _leave(session, target, answer)
        raise
    now_s = time.time()
    echoes = mix.backend != TALKER
    line = Line(voice, mix.speaks, vocabulary(), echoes, now_s)
    return LiveCall(mix, target, caller, answer, port, line, slot, phase, now_s - posted_s)


async def leave(session: aiohttp.ClientSession, call: LiveCall) -> None:
    """Hang up if that is what callers of this kind do; the socket is closed either way."""
    call.port.close()
    if call.mix.leaves == "hangs_up":
        await _leave(session, call.target, call.answer)


async def _post(session: aiohttp.ClientSession, target: Target, caller: Caller, mix: Mix) -> Answer:
    asked = ""
    if mix.backend is not None:
        asked = json.dumps({"type": "realtime", "trunkline": {"backend": mix.backend}})
    try:
        async with asyncio.timeout(SETUP_TIMEOUT_S):
            return await post_offer(session, target, caller.offer, asked)
    except TimeoutError:
        raise CallFailedError("timeout_answer") from None


async def _leave(session: aiohttp.ClientSession, target: Target, answer: Answer) -> None:
    with suppress(CallFailedError, TimeoutError):  # it is over either way
        async with asyncio.timeout(HANG_UP_TIMEOUT_S):
            await hang_up(session, target, answer)
