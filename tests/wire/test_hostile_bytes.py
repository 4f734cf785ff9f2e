"""Any bytes at all: every reader gives a value or the one documented error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.kit import check, from_node, media, ufrag
from wire import claim, crockford, rtcp, rtp, stun, token, trunk
from wire.address import pack_address, unpack_address
from wire.classify import classify
from wire.errors import WireError
from wire.keys import KeyRing

KEYS = KeyRing(1, {1: b"t" * 32})
TAGGER = trunk.Tagger(KeyRing(2, {2: b"k" * 32}))
REPORTS = rtcp.write(
    [
        rtcp.SenderReport(1, 2, 3, 4, 5, (rtcp.ReportBlock(1, 2, -3, 4, 5, 6, 7),)),
        rtcp.SourceDescription(1, "a@b"),
        rtcp.Goodbye((1, 2)),
    ]
)


def read_check(packet: bytes) -> object:
    message = stun.read(packet)
    stun.has_integrity(message, packet, "p")
    return stun.username(message)


READERS: list[tuple[Callable[[bytes], object], bytes]] = [
    (read_check, check(ufrag())),
    (lambda data: token.read(KEYS, data.decode("latin-1")), ufrag().encode()),
    (lambda data: token.password(KEYS, data.decode("latin-1")), ufrag().encode()),
    (lambda data: crockford.decode(data.decode("latin-1")), b"ABCDEFGH"),
    (lambda data: trunk.read(TAGGER, data), from_node((pack_address("::1", 1), media()))),
    (lambda data: claim.read(bytes(18), data), claim.Claim("0" * 24, 1, 2).frame()[1]),
    (rtp.read, media(40)),
    (rtp.read, b"\xb3\xef" + bytes(22) + b"\xbe\xde\x00\x01" + bytes(4) + b"payload\x02"),
    (rtcp.read, REPORTS),
    (lambda data: stun.read_xor_address(data, bytes(12)), bytes.fromhex("0001a147e112a643")),
    (stun.read_error_code, stun.error_code(487, "x")),
    (unpack_address, pack_address("192.0.2.1", 5)),
    (lambda data: pack_address(data.decode("latin-1"), 1), b"192.0.2.1"),
    (classify, media()),
]


def survives(reader: Callable[[bytes], object], data: bytes) -> None:
    try:
        reader(data)
    except WireError as error:
        assert error.reason.replace("_", "").isalnum()


@pytest.mark.parametrize(("reader", "good"), READERS)
def test_every_truncation_and_extension(reader: Callable[[bytes], object], good: bytes) -> None:
    """All prefixes of a good message, and the message with trailing bytes."""
    reader(good)
    for end in range(len(good)):
        survives(reader, good[:end])
    for extra in (b"\x00", b"\xff", bytes(4), bytes(64)):
        survives(reader, good + extra)


@pytest.mark.parametrize(("reader", "good"), READERS)
def test_every_byte_flip(reader: Callable[[bytes], object], good: bytes) -> None:
    """Each byte of a good message replaced by the values that tend to hurt."""
    for at in range(len(good)):
        for value in (0x00, 0x01, 0x7F, 0x80, 0xFF, good[at] ^ 0x01, good[at] ^ 0x80):
            survives(reader, good[:at] + bytes([value]) + good[at + 1 :])


@pytest.mark.parametrize(("reader", "good"), READERS)
@given(data=st.binary(max_size=300))
def test_random_bytes(reader: Callable[[bytes], object], good: bytes, data: bytes) -> None:
    """Bytes that were never a message."""
    survives(reader, data)


def test_every_reason_of_the_packet_path_has_a_counter() -> None:
    """A reason raised by wire on the relay's path is a Counter, or counting it would raise."""
    import re
    from pathlib import Path

    from relay.shared.counters import drop

    root = Path(__file__).parents[2]
    sources = ["wire/stun.py", "wire/token.py", "wire/trunk.py", "wire/replay.py"]
    sources += ["relay/worker/admission.py", "relay/worker/uplink.py", "relay/worker/downlink.py"]
    not_on_the_path = {"stun_address", "stun_error_code"}
    reasons = {
        reason
        for source in sources
        for reason in re.findall(
            r'"((?:stun|token|trunk)_\w+|[a-z]+_[a-z_]+)"\s*(?:\)|if|else)',
            (root / source).read_text(),
        )
    }
    assert {"token_mac", "stun_integrity", "trunk_replay", "stale_epoch"} <= reasons
    for reason in reasons - not_on_the_path:
        drop(reason)
