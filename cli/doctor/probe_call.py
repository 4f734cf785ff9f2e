"""Places a real call as far as its first STUN check: everything but media takes part.

POST offer ─▶ 201, answer ─▶ Binding request to each relay in it ─▶ response ─▶ hang up
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from trunkline.process.address import Address
from wire import stun
from wire.errors import WireError
from wire.stun import Attribute, MessageClass, Method

HTTP_TIMEOUT_S = 10.0
TRIES = 4
TRY_S = 0.5  # RFC 8489 §6.2.1: the first retransmission
MAX_ANSWER_BYTES = 65_536
_PRIORITY = 1_862_270_975  # a peer-reflexive host candidate's (RFC 8445 §5.1.2)

_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host", re.M | re.I)
_CREDENTIAL = re.compile(r"^a=ice-(ufrag|pwd):(\S+)", re.M)


class NoCall(Exception):  # noqa: N818 - says what happened
    """The call could not be placed: the HTTP status, 0 without any, and the problem's code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class ProbeCall:
    """A call that was taken; `relays` are those of its answer."""

    ufrag: str = field(repr=False)
    password: str = field(repr=False)
    own_ufrag: str = field(repr=False)
    relays: tuple[Address, ...]


@asynccontextmanager
async def placed(url: str, api_key: str) -> AsyncIterator[ProbeCall]:
    """A call for the length of the block. Raises NoCall."""
    own_ufrag = secrets.token_hex(4)
    headers = {"Authorization": f"Bearer {api_key}"}
    timeout = aiohttp.ClientTimeout(HTTP_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
        sdp, location = await _post(http, f"{url}/v1/realtime/calls", _offer(own_ufrag))
        try:
            yield _read(sdp, own_ufrag)
        finally:
            async with http.post(f"{url}{location}/hangup"):
                pass


async def check(call: ProbeCall, relay: Address) -> float | None:
    """Milliseconds until a relay brought the transceiver's answer; None when none came."""
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Ear(answers), remote_addr=(relay.host, relay.port)
    )
    try:
        for _ in range(TRIES):
            sent_s = time.perf_counter()
            transport.sendto(_request(call))
            if await _answered(call, answers):
                return (time.perf_counter() - sent_s) * 1000
        return None
    finally:
        transport.close()


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, answers: asyncio.Queue[bytes]) -> None:
        self._answers = answers

    def datagram_received(self, data: bytes, _address: object) -> None:
        self._answers.put_nowait(data)


async def _answered(call: ProbeCall, answers: asyncio.Queue[bytes]) -> bool:
    try:
        async with asyncio.timeout(TRY_S):
            while not _is_success(call, await answers.get()):
                pass
    except TimeoutError:
        return False
    return True


def _is_success(call: ProbeCall, packet: bytes) -> bool:
    try:
        message = stun.read(packet)
    except WireError:
        return False  # the transceiver speaks DTLS next
    success = message.message_class is MessageClass.SUCCESS
    return success and stun.has_integrity(message, packet, call.password)


def _request(call: ProbeCall) -> bytes:
    attributes = [
        (Attribute.USERNAME, f"{call.ufrag}:{call.own_ufrag}".encode()),
        (Attribute.PRIORITY, _PRIORITY.to_bytes(4)),
        (Attribute.ICE_CONTROLLING, secrets.token_bytes(8)),
    ]
    return stun.write(
        Method.BINDING, MessageClass.REQUEST, secrets.token_bytes(12), attributes, call.password
    )


async def _post(http: aiohttp.ClientSession, url: str, sdp: str) -> tuple[str, str]:
    try:
        async with http.post(
            url, data=sdp.encode(), headers={"Content-Type": "application/sdp"}
        ) as response:
            body = await response.content.read(MAX_ANSWER_BYTES)
            if response.status != 201:
                raise NoCall(response.status, _code(body))
            return body.decode(errors="replace"), response.headers["Location"]
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        raise NoCall(0, "") from None


def _code(body: bytes) -> str:
    found = re.search(rb'"code": ?"([a-z_]{1,64})"', body)
    return found[1].decode() if found else ""


def _read(sdp: str, own_ufrag: str) -> ProbeCall:
    credentials = dict(_CREDENTIAL.findall(sdp))
    relays = tuple(Address(host, int(port)) for host, port in _CANDIDATE.findall(sdp))
    try:
        return ProbeCall(credentials["ufrag"], credentials["pwd"], own_ufrag, relays)
    except KeyError:
        raise NoCall(201, "no_credentials") from None


def _offer(own_ufrag: str) -> str:
    """The least that is an offer: Opus, one transport, nothing that could be sent over it."""
    lines = (
        *("v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0"),
        *("m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendrecv"),
        *("a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=setup:actpass"),
        *(f"a=ice-ufrag:{own_ufrag}", f"a=ice-pwd:{secrets.token_hex(16)}"),
        "a=fingerprint:sha-256 " + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(32)),
    )
    return "\r\n".join(lines) + "\r\n"
