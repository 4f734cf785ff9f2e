"""Rude HTTP and gRPC clients: odd requests, slow ones, ones that do not read their answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import suppress

from loadtest.siege.ground import Address, Ground

ODD_PER_S = 40
SLOW = 200
UNREAD = 60
PIPELINED = 500
HEADER = b" HTTP/1.1\r\nHost: siege\r\n"


async def odd_requests(ground: Ground) -> None:
    """Headers, forms, offers and JSON of the shapes that cost the most, with a good key."""
    for request in itertools.cycle(list(_odd(ground.map.key.encode()))):
        await _ask(ground.map.http, request)
        ground.done["odd requests"] += 1
        await asyncio.sleep(1 / ODD_PER_S)


def _odd(key: bytes) -> Iterator[bytes]:
    offer = b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    for line in (b"a=ssrc:1 x\r\n", b"a=rtpmap:111 opus/48000/2\r\n", b"\r\n", b"a=group:B 0\r\n"):
        yield _post(b"/whip", key, b"application/sdp", (offer + line * 6000)[:65000])
    for piece in (b";", b'a="', b";a=b", b"\\", b";a*0=b"):
        kind = b"multipart/form-data" + piece * (7800 // len(piece))
        yield _post(b"/v1/realtime/calls", key, kind, b"--x--\r\n")
    form = b"multipart/form-data; boundary=x"
    parts = b"--x\r\nContent-Disposition: form-data" + b";" * 60_000 + b"\r\n\r\n\r\n--x--"
    yield _post(b"/v1/realtime/calls", key, form, parts)
    yield _post(b"/v1/realtime/calls", key, form, b"--x\r\n" + b"a:b\r\n" * 12_000 + b"\r\n--x--")
    for body in (
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"a":[' + b"[]," * 20_000 + b"0]}",
        b"9" * 60_000,
    ):
        yield _post(b"/v1/realtime/client_secrets", key, b"application/json", body)
    chunked = b"POST /whip" + HEADER + b"Transfer-Encoding: chunked\r\n\r\n"
    yield chunked + b"1\r\na\r\n" * 20_000
    yield chunked + b"zz\r\n"
    yield b"GET /healthz" + HEADER + b"a: b\r\n" * 5000 + b"\r\n"
    yield b"GET /" + b"%41" * 20_000 + HEADER + b"\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400)
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _post(path: bytes, key: bytes, kind: bytes, body: bytes) -> bytes:
    head = b"POST " + path + HEADER + b"Authorization: Bearer " + key + b"\r\nContent-Type: " + kind
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def slow_clients(ground: Ground) -> None:
    """Many connections, each a byte of a request a second, some with a body that never ends."""
    async with asyncio.TaskGroup() as group:
        for number in range(SLOW):
            group.create_task(_trickle(ground, number))


async def _trickle(ground: Ground, number: int) -> None:
    request = b"POST /whip" + HEADER + b"Content-Length: 50000\r\n\r\n" + b"v=0\r\n" * 9999
    at_once = 10 if number % 2 else 60  # half of them get as far as the body
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*ground.map.http)
            try:
                writer.write(request[:at_once])
                for at in range(at_once, len(request)):
                    writer.write(request[at : at + 1])
                    await writer.drain()
                    ground.done["slow clients"] += 1
                    await asyncio.sleep(1.0)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.5)


async def unread_answers(ground: Ground) -> None:
    """Hundreds of requests in one go on each connection, whose answers nobody reads."""
    async with asyncio.TaskGroup() as group:
        for _ in range(UNREAD):
            group.create_task(_pipeline(ground))


async def _pipeline(ground: Ground) -> None:
    requests = (b"GET /metrics" + HEADER + b"\r\n") * PIPELINED
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*ground.map.http)
            try:
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                writer.write(requests)
                ground.done["unread answers"] += PIPELINED
                await asyncio.sleep(5.0)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.2)


async def odd_admin_requests(ground: Ground) -> None:
    """Garbage, broken frames and bodies that are no protobuf at the admin ports."""
    for port, request in itertools.cycle(
        [(port, request) for port in ground.map.admin_ports for request in _ODD_ADMIN]
    ):
        await _ask(port, request, patience_s=0.1)
        ground.done["odd admin requests"] += 1
        await asyncio.sleep(1 / ODD_PER_S)


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


def _call(method: bytes, body: bytes) -> bytes:
    """A gRPC request by hand, without Huffman: HEADERS of literals, one DATA frame."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": method,
        b":authority": b"x",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    block = b"".join(
        b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
        for name, value in fields.items()
    )
    message = b"\x00" + len(body).to_bytes(4) + body
    headers = len(block).to_bytes(3) + b"\x01\x04" + (1).to_bytes(4) + block
    return _PREFACE + headers + len(message).to_bytes(3) + b"\x00\x01" + (1).to_bytes(4) + message


_ODD_ADMIN = (
    b"\x00" * 500,
    b"GET / HTTP/1.1\r\n\r\n",
    _PREFACE + b"\xff" * 400,
    _call(b"/trunkline.v1.TransceiverAdmin/EndCall", b"\xff\xff\xff"),
    _call(b"/trunkline.v1.RelayAdmin/RotateKeys", b"\x0a\x7f"),
    _call(b"/trunkline.v1.ProcessAdmin/SetLogLevel", b"\x08\x96\x01\x08"),
    _call(b"/trunkline.v1.Nothing/Here", b""),
)


async def _ask(to: Address, request: bytes, patience_s: float = 2.0) -> None:
    """Send, read a little, go; whatever the other side makes of it."""
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(*to)
        try:
            writer.write(request)
            async with asyncio.timeout(patience_s):
                await reader.read(4096)
        finally:
            writer.transport.abort()
