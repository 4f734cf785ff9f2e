"""A live caller: speaks, says a message every now and then, and writes down what comes back."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from loadtest.callers.caller import Caller
from loadtest.callers.calling import Connection, connected
from loadtest.callers.channel import Channel
from loadtest.callers.dtls import Identity
from loadtest.peers.survivor import LABEL
from loadtest.signaling import post_offer
from loadtest.stall import speech
from loadtest.survive.ear import Packet
from loadtest.target import Target

CHECK_EVERY = 125  # frames, as Chrome
MESSAGE_EVERY = 10  # frames


class Line:
    """What one caller said and heard. `replies` and `known` are of the messages, by number."""

    def __init__(self) -> None:
        self.call_id = ""
        self.heard: list[Packet] = []
        self.said_s: dict[int, float] = {}
        self.replies: Counter[int] = Counter()
        self.replied_s: dict[int, float] = {}
        self.known: dict[int, int] = {}
        self._connection: Connection | None = None

    @property
    def lost(self) -> list[int]:
        """Messages whose answer never came."""
        return [number for number in self.said_s if not self.replies[number]]

    @property
    def twice(self) -> list[int]:
        """Messages that were answered more than once."""
        return [number for number, count in self.replies.items() if count > 1]

    def forget(self) -> None:
        """Begin a new recording; messages that are answered need not be kept."""
        self.heard.clear()
        for number in [number for number in self.said_s if self.replies[number]]:
            del self.said_s[number]

    def hear(self, packet: bytes, came_s: float) -> None:
        """Take a media packet."""
        if self._connection is None:
            return
        voice = self._connection.voice
        number = voice.number(packet)
        payload = voice.open(packet)
        if payload is not None:
            self.heard.append(Packet(came_s, number, payload))

    def hear_reply(self, text: str) -> None:
        """Take a message of the backend."""
        reply = json.loads(text)
        if "known" not in reply:  # an event of the transceiver
            return
        number = reply["number"]
        self.replies[number] += 1
        self.replied_s.setdefault(number, time.time())
        self.known.setdefault(number, reply["known"])

    async def live(self, connection: Connection, channel: Channel) -> None:
        """Speak and say messages until cancelled."""
        self._connection = connection
        frame = speech.frame_at(time.time())
        for turn in range(1 << 40):
            await asyncio.sleep(speech.due_s(frame + turn) - time.time())
            connection.say(speech.packets()[(frame + turn) % speech.FRAMES])
            if not turn % CHECK_EVERY:
                connection.check()
            if not turn % MESSAGE_EVERY:
                self._say(channel, turn // MESSAGE_EVERY)

    def _say(self, channel: Channel, number: int) -> None:
        self.said_s[number] = time.time()
        channel.say(json.dumps({"number": number}))


@asynccontextmanager
async def on_the_line(
    http: aiohttp.ClientSession, target: Target, identity: Identity, line: Line
) -> AsyncIterator[None]:
    """A live call for the length of the block. Raises CallFailedError.

    Nobody hangs up at the end: who would be asked may be gone, and the fleet ends with the run.
    """
    caller = Caller(identity, data=True)
    answer = await post_offer(http, target, caller.offer)
    line.call_id = answer.call_url.rpartition("/")[2]
    async with connected(caller, answer, line.hear) as connection:
        channel = Channel(connection, LABEL, line.hear_reply)
        await channel.open()
        living = asyncio.create_task(line.live(connection, channel))
        try:
            yield
        finally:
            living.cancel()
            await asyncio.wait({living})
            await channel.close()
