"""What a stranger, a page or a caller sends over HTTP costs work in proportion to its length."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from fleet.api_key import ApiKey
from tests.transceiver.front_door import RING
from tests.transceiver.offers import real_offer, replaced
from tests.work import LINEAR, growth, ratio
from transceiver.call.call_id import origin_of
from transceiver.signaling.access import ApiKeys, bearer
from transceiver.signaling.client_secret import MAX_CHARS, SecretRefused, unseal
from transceiver.signaling.form import FormError, read_form
from transceiver.signaling.fragment import MAX_FRAGMENT_BYTES, FragmentRefused, read_fragment
from transceiver.signaling.generations import matches
from transceiver.signaling.media_type import media_type, parameter
from transceiver.signaling.offer_policy import MAX_OFFER_BYTES, OfferRefused, read_offer
from transceiver.signaling.problem import Problem
from transceiver.signaling.realtime_calls import MAX_FORM_BYTES, MAX_SESSION_BYTES, read_object

HEADER_BYTES = 8190  # the longest header line that aiohttp lets through
OFFER = real_offer()
AUDIO_LINE = "m=audio 9 UDP/TLS/RTP/SAVPF 111"
REFUSALS = (FormError, FragmentRefused, OfferRefused, Problem, SecretRefused)


def filled(unit: str, size: int) -> str:
    """`unit` again and again, to just under `size` characters."""
    return unit * (size // len(unit))


def in_audio(line: str, size: int) -> str:
    """A real offer with that line as often as it fits, at the end of its audio section."""
    extra = filled(f"{line}\r\n", size - len(OFFER))
    return replaced(OFFER, "m=application", extra + "m=application")


def mappings_and_formats(size: int) -> str:
    """Half of it Opus under numbers that the section does not offer, half of it such numbers."""
    room = (size - len(OFFER)) // 2
    offered = AUDIO_LINE.replace(" 111", filled(" 200", room) + " 111")
    text = replaced(OFFER, AUDIO_LINE, offered)
    extra = filled("a=rtpmap:99 opus/48000/2\r\n", room)
    return replaced(text, "m=application", extra + "m=application")


def groups(size: int) -> str:
    """As many groups, each with as many names, as fit."""
    line = "a=group:BUNDLE " + "x " * 60 + "\r\n"
    return replaced(OFFER, "t=0 0", f"t=0 0\r\n{filled(line, size - len(OFFER))}".rstrip())


OFFERS: dict[str, Callable[[int], str]] = {
    "newlines": lambda size: "v=0\n" + filled("\r", size - 4),
    "sections": lambda size: OFFER + filled("m=video 0 X 1\r\n", size - len(OFFER)),
    "formats": lambda size: replaced(OFFER, " 111", filled(" 1", size - len(OFFER)) + " 111"),
    "mappings and formats": mappings_and_formats,
    "groups": groups,
    **{
        line: partial(in_audio, line)
        for line in (
            "a=ssrc:1 x:y",
            "a=rtcp-fb:* x",
            "a=rtpmap:96 x/1",
            "a=fmtp:63 111/111",
            "a=fmtp:111 " + ";" * 400,
            "a=extmap:1 x",
            "a=candidate:1 1 udp 1 1.1.1.1 1 typ host",
            "a=fingerprint:md5 00",
            "a=ice-ufrag:abcd",
            "a=mid:0",
            "a=crypto:" + "x" * 900,
        )
    },
}


@pytest.mark.parametrize("shape", OFFERS)
def test_an_offer(shape: str) -> None:
    """Reading the largest offer costs four times what a quarter costs, whatever it repeats."""
    assert (
        growth(lambda size: partial(_tried, read_offer, OFFERS[shape](size)), MAX_OFFER_BYTES)
        < LINEAR
    )


@pytest.mark.parametrize(
    "line", ["a=ice-ufrag:abcd", "a=mid:0", "m=x", "a=", "\r", "a=x:" + "y" * 99]
)
def test_a_fragment(line: str) -> None:
    """So it is with an SDP fragment."""

    def make(size: int) -> Callable[[], object]:
        return partial(_tried, read_fragment, filled(f"{line}\r\n", size))

    assert growth(make, MAX_FRAGMENT_BYTES) < LINEAR


HEADERS = [
    ";",
    "; ",
    "=",
    ";a=",
    ';a="',
    ";a*0=b",
    ';a="\\',
    "a/",
    ",",
    '"',
    " ",
    "%",
    "\\",
    "a=b;",
]


@pytest.mark.parametrize("unit", HEADERS)
@pytest.mark.parametrize("start", ["", "a/b", "multipart/form-data; boundary=", 'a/b; c="'])
def test_a_header_with_parameters(unit: str, start: str) -> None:
    """Content-Type and Content-Disposition, a whole header line of any of their signs."""

    def make(size: int) -> Callable[[], object]:
        value = start + filled(unit, size - len(start))
        return lambda: (
            media_type(value),
            parameter(value, "boundary"),
            parameter(value[:512], "c"),
        )

    assert growth(make, HEADER_BYTES) < LINEAR


@pytest.mark.parametrize(
    "unit",
    [
        b"\r\n--b",
        b"\r\n--b\r\n",
        b"\r\n--b\r\nContent-Disposition: form-data; name=" + b";" * 1900 + b"\r\n\r\n",
        b"--b--",
        b"\r\n",
        b"\r\n--",
        b"a: b\r\n",
        b"\r\n\r\n",
        b";",
    ],
)
@pytest.mark.parametrize("boundary", ["b", "-" * 70])
def test_a_form(unit: bytes, boundary: str) -> None:
    """A body of nothing but the pieces of a form."""

    def make(size: int) -> Callable[[], object]:
        start = f"\r\n--{boundary}\r\n".encode()
        body = start + unit * ((size - len(start)) // len(unit))
        return partial(_tried, read_form, f"multipart/form-data; boundary={boundary}", body)

    assert growth(make, MAX_FORM_BYTES) < LINEAR


@pytest.mark.parametrize(
    "unit", ["[", '{"a":', "9", '"k":0,', '"\\u00e9",', "0,", '"\\', "1e9", '{"a":[', " ", "\n"]
)
@pytest.mark.parametrize("start", ["", '{"a":', '{"a":[', "{", '{"a":"'])
def test_a_session(unit: str, start: str) -> None:
    """JSON of a session or of a request for a secret, nested, of long numbers, of many members,
    costs no more than some honest one of its length."""

    text = start + filled(unit, MAX_SESSION_BYTES - len(start))
    honest = '{"tools": [' + filled('{"name": "a", "parameters": {}},', MAX_SESSION_BYTES - 99)
    read = partial(_tried, read_object, what="It", code="bad_session")
    # Not its own growth: a text that is refused at once is no measure for one that is not.
    assert ratio(partial(read, text), partial(read, honest[:-1] + "]}")) < LINEAR


@pytest.mark.parametrize("unit", [",", "a,", " ", "openai-insecure-api-key.", "ek_", "é", '"x", '])
def test_keys_tags_and_ids(unit: str) -> None:
    """A bearer key, a list of subprotocols, an entity tag, a call id: a header line of each."""
    keys = ApiKeys([ApiKey.parse("one"), ApiKey.parse("two")])

    def make(size: int) -> Callable[[], object]:
        text = filled(unit, size)
        protocols = {"Sec-WebSocket-Protocol": text}
        return lambda: (
            _tried(keys.check, {"Authorization": f"Bearer {text}"}),
            _tried(bearer, protocols),
            _tried(unseal, RING, f"ek_{text}", 0.0),
            matches(text, '"tag"'),
            origin_of(f"rtc_{text}"),
        )

    assert growth(make, HEADER_BYTES) < LINEAR


def test_a_sealed_secret_of_any_length_is_read_in_its_length() -> None:
    """Base64 of nonsense, as long as a secret may be."""

    def make(size: int) -> Callable[[], object]:
        return partial(_tried, unseal, RING, "ek_" + "A" * (size - 3), 0.0)

    assert growth(make, MAX_CHARS) < LINEAR


def _tried(read: Callable[..., Any], *arguments: object, **named: object) -> object:
    with suppress(*REFUSALS):
        return read(*arguments, **named)
    return None
