"""Clients that read nothing, say nothing, trickle, or speak no HTTP hold nothing for long."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.web_protocol import RequestHandler
from structlog.testing import capture_logs

from tests.transceiver.front_door import FrontDoor, front_door, problem
from tests.transceiver.offers import real_offer
from transceiver.signaling import http_connection
from transceiver.signaling.http_connection import UNREAD_TIMEOUT_S
from transceiver.signaling.log_rate import LogRate

ASK = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
SOON_S = 20.0


@asynccontextmanager
async def rude(door: FrontDoor, count: int) -> AsyncIterator[list[socket.socket]]:
    """So many raw connections, with small buffers, that read nothing."""
    made = []
    loop = asyncio.get_running_loop()
    try:
        for _ in range(count):
            made.append(one := socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", door.port))
        yield made
    finally:
        for one in made:
            one.close()


async def ended(one: socket.socket) -> bytes:
    """What comes until the other side has closed or thrown the connection away."""
    loop, heard = asyncio.get_running_loop(), b""
    async with asyncio.timeout(SOON_S):
        try:
            while chunk := await loop.sock_recv(one, 65536):
                heard += chunk
        except ConnectionResetError:
            pass
    return heard


async def blocked(door: FrontDoor, one: socket.socket) -> None:
    """Send requests ahead until no more are taken, and answers wait to be read."""
    loop = asyncio.get_running_loop()
    for _ in range(2000):
        try:
            async with asyncio.timeout(0.5):
                await loop.sock_sendall(one, ASK * 200)
        except (TimeoutError, ConnectionError):  # or it was let go meanwhile
            break
    else:
        pytest.fail("any number of requests is taken")
    async with asyncio.timeout(SOON_S):
        while not door.engine.http_counters["http_unread"] and not any(
            transport.get_write_buffer_size()
            for transport in door.listener._connections[0]._open.values()
        ):
            await asyncio.sleep(0.01)


async def test_who_reads_nothing_is_let_go() -> None:
    """Requests sent ahead are taken to a bound; when their answers were not read for long enough
    the connection is thrown away, and others were answered meanwhile."""
    async with front_door() as door, rude(door, 1) as (one,):
        await blocked(door, one)
        assert (await door.ask("GET", "/healthz")).status == 200
        now = asyncio.get_running_loop().time()
        (connections, _) = door.listener._connections
        connections.look(now)
        connections.look(now + UNREAD_TIMEOUT_S - 1)
        assert not door.engine.http_counters["http_unread"]
        connections.look(now + UNREAD_TIMEOUT_S)
        assert door.engine.http_counters["http_unread"] == 1
        await ended(one)
        async with asyncio.timeout(SOON_S):
            while len(connections) > 1:  # the polite client's
                await asyncio.sleep(0.01)


async def test_the_watch_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anybody who asks."""
    monkeypatch.setattr(http_connection, "UNREAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(http_connection, "LOOK_INTERVAL_S", 0.05)
    async with front_door() as door, rude(door, 1) as (one,):
        await blocked(door, one)
        async with asyncio.timeout(SOON_S):
            while not door.engine.http_counters["http_unread"]:
                await asyncio.sleep(0.01)


async def test_silent_connections_keep_nobody_out() -> None:
    """Beyond the bound the one that was of no use for longest gives way, trickling or not; one
    that was served since stays."""
    async with front_door(max_connections=4) as door:
        assert (await door.ask("GET", "/healthz")).status == 200
        async with rude(door, 3) as silent:
            for one in silent:
                await asyncio.get_running_loop().sock_sendall(one, b"GET / HT")
            assert (await door.ask("GET", "/healthz")).status == 200  # by its old connection
            async with rude(door, 3) as more:
                for one in silent:
                    assert await ended(one) == b""
                await asyncio.get_running_loop().sock_sendall(more[-1], ASK)
                assert (await door.ask("GET", "/healthz")).status == 200
        assert door.engine.http_counters["http_gave_way"] == 3
        assert not door.engine.http_counters["http_turned_away"]


async def test_connections_that_are_being_answered_do_not_give_way() -> None:
    """Who comes when all are of use is turned away."""
    async with front_door(max_connections=1) as door, rude(door, 1) as (one,):
        head = b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
        head += b"Authorization: Bearer key-one\r\nContent-Length: 9\r\n\r\nv=0"
        await asyncio.get_running_loop().sock_sendall(one, head)
        async with asyncio.timeout(SOON_S):
            while all(open_one.idle for open_one in door.listener._connections[0]._open):
                await asyncio.sleep(0.01)
        async with rude(door, 1) as (two,):
            assert await ended(two) == b""
        assert door.engine.http_counters["http_turned_away"] == 1


async def test_a_slow_head_and_a_slow_body_end() -> None:
    """In the time that each may take."""
    async with front_door(idle_timeout_s=0.3, body_timeout_s=0.3) as door, rude(door, 2) as both:
        head = b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
        head += b"Authorization: Bearer key-one\r\nContent-Length: 9\r\n\r\n"
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(both[0], head[:20])
        await loop.sock_sendall(both[1], head + b"v=0")
        assert await ended(both[0]) == b""
        assert b" 408 " in await ended(both[1])


async def test_a_long_read_is_parsed_a_little_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one byte by the ten thousand come in one read; the loop runs between their parts,
    all of them are read, and the connection goes on."""
    loop, parse = asyncio.get_running_loop(), RequestHandler.data_received
    turns, parsed = 0, [(0, 0)]

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    def noted(connection: RequestHandler, data: bytes) -> None:
        if data:
            parsed.append((turns, len(data)))
        parse(connection, data)

    head = b"POST /whip HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n"
    head += b"Authorization: Bearer key-one\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"1\r\na\r\n" * 40_000 + b"0\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    monkeypatch.setattr(RequestHandler, "data_received", noted)
    async with front_door() as door, rude(door, 1) as (one,):
        turn()
        await loop.sock_sendall(one, request + last)
        heard = await ended(one)
    assert re.findall(rb"HTTP/1.1 (\d+)", heard) == [b"400", b"200"]
    assert sum(size for _, size in parsed) == len(request + last)
    assert max(size for _, size in parsed) <= http_connection.TURN_BYTES
    assert len({at for at, _ in parsed}) == len(parsed)


MALFORMED = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "words": b"hello there\r\n\r\n",
    "a long line": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a huge length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 99 + b"\r\n\r\n",
    "no method": b"\x00\x00\x00\x00 / HTTP/1.1\r\n\r\n",
    "no version": b"GET / HTTQ/9.9\r\nHost: x\r\n\r\n",
    "a bare header": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_http_is_one_counted_line(name: str) -> None:
    """No traceback, none of its words in the log or in the answer, and the answer is a problem."""
    async with front_door() as door, rude(door, 1) as (one,):
        with capture_logs() as lines:
            await asyncio.get_running_loop().sock_sendall(one, MALFORMED[name])
            head, _, body = (await ended(one)).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"
    assert [line["event"] for line in lines] == ["http_malformed"]
    assert not any("exc_info" in line for line in lines)
    assert door.engine.http_counters["http_malformed"] == 1


async def test_a_flood_of_it_is_a_few_lines() -> None:
    """All are counted; the next line says how many were not said."""
    async with front_door() as door:
        with capture_logs() as lines:
            for _ in range(12):
                async with rude(door, 1) as (one,):
                    await asyncio.get_running_loop().sock_sendall(one, MALFORMED["words"])
                    await ended(one)
        assert door.engine.http_counters["http_malformed"] == 12
    assert len(lines) == 5


def test_lines_have_a_rate() -> None:
    """A burst, then one in a while, and what was not said is told by the next."""
    rate = LogRate(burst=2, interval_s=10)
    assert [rate.allows(0.0) for _ in range(4)] == [True, True, False, False]
    assert rate.take_unsaid() == 2
    assert not rate.allows(9.0)
    assert rate.allows(10.0)
    assert rate.take_unsaid() == 1


async def test_a_handler_that_raises_ends_its_request_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """500 in few words, counted, a line that names the call; a flood of them is a few lines, and
    the calls that are there go on."""
    async with front_door() as door:
        assert (await door.post_sdp("/whip", real_offer())).status == 201

        def fail(*_: object) -> None:
            raise RuntimeError("of ours")

        monkeypatch.setattr(door.engine, "end", fail)
        with capture_logs() as lines:
            for _ in range(8):
                answer = await door.ask("DELETE", "/whip/rtc_1")
                assert (await problem(answer))["code"] == "internal"
                assert "of ours" not in await answer.text()
        assert door.engine.http_counters["http_failed"] == 8
        assert len(lines) == 5
        assert {(line["event"], line["call_id"]) for line in lines} == {("request_failed", "rtc_1")}
        assert (await door.ask("GET", "/healthz")).status == 200
        assert door.engine.find("rtc_1") is not None
