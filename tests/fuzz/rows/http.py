"""What comes by HTTP: heads, keys, offers, fragments, forms, JSON, secrets, ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError

from fleet.api_key import ApiKey, key_id
from fleet.page_policy import DEFAULT
from fleet.seal import Seal
from tests.fuzz.mutation import words
from tests.fuzz.row import Reader, Row, plain, repeated, text_of, together
from transceiver.call.call_id import new_call_id, origin_of
from transceiver.call.principal import Principal
from transceiver.pod.proof import PURPOSE, NotProven, Passed, Proofs
from transceiver.signaling.access import ApiKeys, SecretKeys
from transceiver.signaling.body import as_text, require_type
from transceiver.signaling.client_secret import ClientSecret, SecretRefused, seal, unseal
from transceiver.signaling.client_secrets import _wish
from transceiver.signaling.form import Field, FormError, read_form
from transceiver.signaling.fragment import MAX_FRAGMENT_BYTES, FragmentRefused, read_fragment
from transceiver.signaling.generations import matches
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES, OfferRefused, read_offer
from transceiver.signaling.problem import Problem
from transceiver.signaling.realtime_calls import (
    MAX_FORM_BYTES,
    MAX_SESSION_BYTES,
    _for_page,
    over,
    read_session,
)
from wire.keys import KeyRing

OFFERS = Path(__file__).parents[2] / "vectors/offers"
LONGEST_LINE = 8190  # what aiohttp takes of one header line
HEAD_BYTES = 64 * 1024
_RING = KeyRing(1, {1: b"s" * 32})
_KEYS = ApiKeys([ApiKey.parse("a-key"), ApiKey.parse("acme:b-key")])
_SECRETS = SecretKeys(lambda: _RING, _KEYS)
_PAGE = Principal("acme", key_id("b-key"), "s", DEFAULT)
_SEPARATORS = b'\r\n ;,:="'
_HEADERS = (b";", b'"', b"\\", b"=", b",", b"boundary=", b"*0*=utf-8''%41", b"Bearer ", b"\xff")


# Heads.


class _Transport(asyncio.Transport):
    """A connection that may be told to wait."""

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@asynccontextmanager
async def _heads() -> AsyncIterator[Reader]:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(_Transport())

    def read(data: bytes) -> None:
        parser = HttpRequestParser(protocol, loop, 2**16, auto_decompress=False)
        protocol._parser = parser
        parser.feed_data(data)

    yield read


def _values(data: bytes) -> None:
    """Every header whose value we read ourselves."""
    value = data.decode("utf-8", "surrogateescape").replace("\r", "").replace("\n", "")
    request = cast(web.Request, SimpleNamespace(method="POST", headers={"Content-Type": value}))
    for judge in (
        lambda: _KEYS.check({"Authorization": value}),
        lambda: _KEYS.check({"Sec-WebSocket-Protocol": value}),
        lambda: _SECRETS.read({"Authorization": value}),
        lambda: require_type(request, "application/sdp", "multipart/form-data"),
        lambda: matches(value, '"0123456789abcdef"'),
    ):
        with suppress(Problem):
            judge()


# Bodies.


def _offer(data: bytes) -> None:
    read_offer(as_text(data, "not_sdp"))


def _fragment(data: bytes) -> None:
    read_fragment(as_text(data, "bad_fragment"))


def _form(data: bytes) -> None:
    """The first line is the Content-Type."""
    kind, _, body = data.partition(b"\n")
    fields = read_form(kind.decode("latin-1"), body)
    read_session(fields.get("session"))


def _session(data: bytes) -> None:
    text = read_session(Field("application/json", data))
    over('{"instructions": "Be brief."}', text)
    with suppress(Problem):
        _for_page(_PAGE, '{"model": "m"}', text)
    over(text, '{"model": "m"}')


def _secret_request(data: bytes) -> None:
    wish = _wish(as_text(data, "bad_secret_request"))
    json.dumps(wish.session)


def _secret(data: bytes) -> None:
    unseal(_RING, data.decode("latin-1"), 1000.0)


def _proof(data: bytes) -> None:
    """As any text, and as the content of a seal that is right."""
    _PROOFS.read(_ASKED, data.decode("latin-1"))


def _call_id(data: bytes) -> None:
    origin_of(text_of(data))


_SDP = tuple(path.read_bytes() for path in sorted(OFFERS.glob("*.sdp")))
_LINES = tuple(sorted({line + b"\r\n" for sdp in _SDP for line in sdp.splitlines()}))
_SDP_WORDS = (
    *_LINES,
    *(b"0", b"-1", b"65536", b"99999999999999999999", b"\x00", b"\xc2\x85", b"\xe2\x80\xa8"),
    *(
        b"a=group:BUNDLE 0 1",
        b"a=mid:0\r\n",
        b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        b"a=ssrc:\r\n",
    ),
)
_FRAGMENTS = (
    b"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    b"a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n",
    b"a=mid:0\r\n",
)
_BOUNDARY = b"----WebKitFormBoundaryABC"


def _part(name: bytes, kind: bytes, content: bytes) -> bytes:
    return (
        b"--" + _BOUNDARY + b'\r\nContent-Disposition: form-data; name="' + name + b'"\r\n'
        b"Content-Type: " + kind + b"\r\n\r\n" + content + b"\r\n"
    )


_SESSIONS = (
    b'{"type":"realtime","model":"m","instructions":"Be brief.","tools":[{"type":"function",'
    b'"name":"f","parameters":{"type":"object","properties":{}}}],"trunkline":{"backend":"b"}}',
    b"{}",
    b'{"a":[1,-2.5e3,true,null,"\\u00e9"]}',
)
JSON_WORDS = (
    *(
        b"null",
        b"true",
        b"-0",
        b"1e999",
        b"9" * 400,
        b"1" * 5000,
        b"NaN",
        b"Infinity",
        b'"\\ud800"',
    ),
    *(b"[" * 300, b'{"a":' * 300, b"]", b"}", b'"', b",", b":", b"[]", b"{}", b'""', b'"\\u0000"'),
    *(b'"type"', b'"session"', b'"trunkline"', b'"tools"', b'"__proto__"', b"1.5", b"\xff", b"0"),
)
JSON_BREAKS = b'{}[],: \n"'
_FORM = (
    b"multipart/form-data; boundary=" + _BOUNDARY + b"\n"
    + _part(b"sdp", b"application/sdp", _SDP[0])
    + _part(b"session", b"application/json", _SESSIONS[0])
    + b"--" + _BOUNDARY + b"--\r\n"
)  # fmt: skip
_SECRET = seal(_RING, ClientSecret(2000, '{"instructions":"' + "x" * 900 + '"}', "k_0123456789"))
_WISHES = (
    b'{"expires_after":{"anchor":"created_at","seconds":600},"session":{"type":"realtime"}}',
    b'{"session":{"instructions":"x"}}',
    b"",
)
_REQUESTS = (
    b"POST /v1/realtime/calls HTTP/1.1\r\nHost: a\r\nContent-Type: application/sdp\r\n"
    b"Authorization: Bearer a-key\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    b"POST /whip HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET /v1/realtime?call_id=rtc_AAAAx HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n",
)


def _nested(size: int) -> Iterable[bytes]:
    """JSON as deep, as wide and as numerous as fits."""
    for opening in (b"[", b'{"a":'):
        yield opening * (size // len(opening))
        half = size // (len(opening) + 2)
        yield opening * half + b"1" + (b"]" if opening == b"[" else b"}") * half
    yield b'{"a":[' + b"[]," * ((size - 10) // 3) + b"0]}"
    yield b'{"a":"' + b"\\u00e9" * ((size - 10) // 6) + b'"}'
    yield b'{"a":' + b"1" * (size - 6) + b"}"
    members = b",".join(b'"%x":0' % number for number in range(max(1, size // 9)))
    yield b"{" + members[: size - 4].rpartition(b",")[0] + b"}"


def _offers(size: int) -> Iterable[bytes]:
    """A good offer with one kind of line said as often as fits."""
    for line in (
        *(b"a=ssrc:1 cname:x\r\n", b"a=rtpmap:111 opus/48000/2\r\n", b"a=fmtp:111 a=b\r\n"),
        *(b"a=group:BUNDLE 0\r\n", b"a=mid:0\r\n", b"a=fingerprint:sha-1 AA\r\n", b"a=x\r\n"),
        *(b"a=rtcp-fb:111 nack\r\n", b"a=sctp-port:5000\r\n", b"a=max-message-size:1\r\n"),
        *(b"a=ice-ufrag:abcd\r\n", b"\r\n", b"m=audio 9 X 0\r\n", b"a=extmap:1 u\r\n"),
    ):
        yield _SDP[0] + line * max(1, (size - len(_SDP[0])) // len(line))
    numbers = b" ".join(b"%d" % number for number in range(max(1, size // 6)))
    yield b"v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF " + numbers[: size - 60] + b"\r\na=mid:0\r\n"
    yield b"v=0\r\nm=audio 9 X " + b"a " * ((size - 40) // 2) + b"\x00\r\n"
    yield b"v=0\r\na=group:" + b"BUNDLE 0 " * ((size - 40) // 9) + b"\r\n"


def _forms(size: int) -> Iterable[bytes]:
    """Headers of parameters, parts of nothing, and lines that are nearly a delimiter."""
    kind = b"multipart/form-data; boundary=x"
    for piece in (b";", b'a="', b";a=b", b"\\", b'"', b';a*0="b"'):
        disposition = b"Content-Disposition: form-data" + piece * (max(1, size - 100) // len(piece))
        yield kind + b"\n--x\r\n" + disposition + b"\r\n\r\n\r\n--x--"
        yield b"multipart/form-data" + piece * (min(size, LONGEST_LINE) // len(piece)) + b"\n--x--"
    yield kind + b"\n" + b"\r\n--x" * (size // 5)
    yield kind + b"\n" + b"\r\n--" * (size // 4)
    yield kind + b"\n--x\r\n" + b"a:b\r\n" * (size // 5) + b"\r\n\r\n--x--"
    part = b"--x\r\nContent-Disposition: form-data; name=%d\r\n" + b"a:b\r\n" * 380 + b"\r\n"
    parts = b"".join(part % number + bytes(size // 9) + b"\r\n" for number in range(8))
    yield kind + b"\n" + parts + b"--x--\r\n"


def _head_shapes(size: int) -> Iterable[bytes]:
    request = b"GET / HTTP/1.1\r\nHost: a\r\n"
    for line in (b"a: b\r\n", b"a:\r\n", b"a: " + b"x" * 8000 + b"\r\n"):
        yield request + line * (size // len(line)) + b"\r\n"
    yield b"GET /" + b"%41" * (size // 3) + b" HTTP/1.1\r\n\r\n"
    yield b"GET /?" + b"a&" * (min(size, 8000) // 2) + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield chunked + b"1\r\na\r\n" * (size // 6)
    yield (request + b"\r\n") * (size // (len(request) + 2))


_PROOFS = Proofs(Seal(lambda: _RING, PURPOSE, 7), lambda: 1000.0)
_ASKED = Passed("PATCH", "/whip/rtc_1", _PAGE, "a/b", '"tag"', b"body")

ROWS = (
    Row(
        name="HTTP heads",
        where="transceiver/signaling/http_listener.py",
        who="strangers",
        largest=HEAD_BYTES,
        steps=600_000,
        becomes="400, and the connection ends",
        open=_heads,
        seeds=_REQUESTS,
        worst=_head_shapes,
        refusals=(HttpProcessingError,),
        mutate=words(
            (*_HEADERS, b"\r\n", b"\r\n\r\n", b"0", b"-1", b"chunked", b"HTTP/1.1", b"\x00"),
            _SEPARATORS,
            _REQUESTS,
        ),
        weight=4,
    ),
    Row(
        name="header values",
        where="transceiver/signaling/access.py",
        who="strangers",
        largest=LONGEST_LINE,
        steps=350_000,
        becomes="401, 412 or 415 as problem+json",
        open=plain(_values),
        seeds=(
            b"Bearer a-key",
            b"Bearer " + _SECRET.encode(),
            b"multipart/form-data; boundary=" + _BOUNDARY,
            b"realtime, openai-insecure-api-key.a-key",
            b'"0123456789abcdef", "x"',
        ),
        worst=repeated(
            *(b";", b'"', b"\\", b";a=b", b",", b'a="', b" ", b"=", b'"\\"', b"/", b";a*0=b"),
            head=b"multipart/form-data;",
        ),
        mutate=words(_HEADERS, _SEPARATORS),
        weight=2,
    ),
    Row(
        name="SDP offers",
        where="transceiver/signaling/offer_policy.py",
        who="callers",
        largest=MAX_OFFER_BYTES,
        steps=400_000,
        becomes="4xx as problem+json, with a code for each rule",
        open=plain(_offer),
        seeds=_SDP,
        worst=_offers,
        refusals=(OfferRefused, Problem),
        mutate=words(_SDP_WORDS, b"\r\n: =/", _SDP),
    ),
    Row(
        name="SDP fragments",
        where="transceiver/signaling/fragment.py",
        who="callers",
        largest=MAX_FRAGMENT_BYTES,
        steps=250_000,
        becomes="4xx as problem+json",
        open=plain(_fragment),
        seeds=_FRAGMENTS,
        worst=repeated(
            *(b"a=ice-ufrag:abcd\r\n", b"a=x\r\n", b"m=\r\n", b"\r\n", b"a=mid:0\r\n"),
            head=_FRAGMENTS[0],
        ),
        refusals=(FragmentRefused, Problem),
        mutate=words((*_LINES[:40], b"\x00", b"\r\n"), b"\r\n: =/", _FRAGMENTS),
        weight=4,
    ),
    Row(
        name="forms",
        where="transceiver/signaling/form.py",
        who="callers",
        largest=MAX_FORM_BYTES,
        steps=200_000,
        becomes="400 as problem+json",
        open=plain(_form),
        seeds=(_FORM, b"multipart/form-data; boundary=x\n--x--\r\n"),
        worst=_forms,
        refusals=(FormError, Problem),
        mutate=words((*_HEADERS, b"\r\n\r\n", b"\r\n--" + _BOUNDARY, b"--\r\n"), _SEPARATORS),
        weight=4,
    ),
    Row(
        name="sessions as JSON",
        where="transceiver/signaling/realtime_calls.py",
        who="callers",
        largest=MAX_SESSION_BYTES,
        steps=4_000,
        becomes="400 or 413 as problem+json",
        open=plain(_session),
        seeds=_SESSIONS,
        worst=_nested,
        refusals=(Problem,),
        mutate=words(JSON_WORDS, JSON_BREAKS, _SESSIONS),
        weight=6,
    ),
    Row(
        name="requests for client secrets",
        where="transceiver/signaling/client_secrets.py",
        who="holders of an API key",
        largest=MAX_SESSION_BYTES,
        steps=4_000,
        becomes="400 or 413 as problem+json",
        open=plain(_secret_request),
        seeds=_WISHES,
        worst=_nested,
        refusals=(Problem,),
        mutate=words(JSON_WORDS, JSON_BREAKS, _WISHES),
        weight=4,
    ),
    Row(
        name="client secrets",
        where="transceiver/signaling/client_secret.py",
        who="strangers",
        largest=LONGEST_LINE,
        steps=1_000,
        becomes="401 as problem+json",
        open=plain(_secret),
        seeds=(_SECRET.encode(), _SECRET.encode() + b"="),
        worst=repeated(b"A", b"=", b"\xff", head=b"ek_"),
        refusals=(SecretRefused,),
        weight=6,
    ),
    Row(
        name="proofs of what is passed on",
        where="transceiver/pod/proof.py",
        who="whoever reaches a transceiver's HTTP port",
        largest=LONGEST_LINE,
        steps=4_000,
        becomes="404 as problem+json",
        open=plain(_proof),
        seeds=(_PROOFS.write(_ASKED).encode(),),
        worst=repeated(b"A", b".", b"\xff", head=b"1."),
        refusals=(NotProven,),
        weight=6,
    ),
    Row(
        name="call ids",
        where="transceiver/call/call_id.py",
        who="callers",
        largest=LONGEST_LINE,
        steps=1_000,
        becomes="404 as problem+json",
        open=plain(_call_id),
        seeds=tuple(new_call_id(process, 77).encode() for process in range(4)),
        worst=together(repeated(b"A", b"/", b"\xff", head=b"rtc_"), repeated(b"rtc_")),
        weight=8,
    ),
)
