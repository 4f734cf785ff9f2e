"""What comes in datagrams: STUN, route tokens, the trunk. `wire` reads it; the relay acts on it."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from tests.fuzz.row import Reader, Row, made, plain, repeated, text_of
from tests.relay.kit import TOKEN_KEYS, TRUNK_KEYS, check, from_node, media, ufrag
from wire import claim, stun, token, trunk
from wire.address import pack_address
from wire.claim import Claim
from wire.classify import classify
from wire.errors import WireError
from wire.rejoin import Rejoin

SLOT_BYTES = 2048  # of a receive buffer, in relay and transceiver
_TAGGER = trunk.Tagger(TRUNK_KEYS)
_FRAMES = [(pack_address("192.0.2.1", number), media(20)) for number in range(9)]


def _stun(packet: bytes) -> None:
    classify(packet)
    message = stun.read(packet)
    stun.has_integrity(message, packet, "p" * 32)
    stun.username(message)


def _token(data: bytes) -> None:
    ufrag = text_of(data)
    token.read(TOKEN_KEYS, ufrag)
    token.password(TOKEN_KEYS, ufrag)


def _trunk() -> Reader:
    rejoin = Rejoin()
    return lambda datagram: rejoin.frames(trunk.read(_TAGGER, datagram))


def _claim(payload: bytes) -> None:
    claim.read(claim.NOWHERE, payload)


def _attributes(size: int) -> Iterable[bytes]:
    """As many attributes as fit: unknown ones, and users' names."""
    body = size - stun.HEADER_BYTES
    for one in (b"\x80\x99\x00\x00", b"\x00\x06\x00\x00", b"\x00\x08\x00\x00"):
        attributes = one * (body // 4)
        head = struct.pack("!HHI", 1, len(attributes), stun.MAGIC_COOKIE) + bytes(12)
        yield head + attributes


def _tables(size: int) -> Iterable[bytes]:
    """Tables as long as fit, of empty frames, with a tag that holds."""
    count = min(trunk.MAX_FRAMES, (size - trunk.HEADER_BYTES) // trunk.ENTRY_BYTES)
    yield from_node(*[(pack_address("192.0.2.1", 1), b"")] * count)


ROWS = (
    Row(
        name="STUN",
        where="wire/stun.py",
        who="strangers",
        largest=SLOT_BYTES,
        steps=4_000,
        becomes="drop counted by reason",
        open=plain(_stun),
        seeds=(
            check(ufrag()),
            check(ufrag(), password="w" * 32),
            stun.write(1, stun.MessageClass.SUCCESS, bytes(12), [(0x20, bytes(8))], "p"),
            stun.write(1, stun.MessageClass.REQUEST, bytes(12), [(6, b"a:b"), (6, b"c:d")], None),
        ),
        worst=_attributes,
        refusals=(WireError,),
        weight=16,
    ),
    Row(
        name="route token",
        where="wire/token.py",
        who="strangers",
        largest=stun.MAX_USERNAME_BYTES,
        steps=1_000,
        becomes="drop counted by reason",
        open=plain(_token),
        seeds=tuple(ufrag().encode() for _ in range(8)),
        worst=repeated(b"0", b"\xff"),
        refusals=(WireError,),
        weight=16,
    ),
    Row(
        name="trunk",
        where="wire/trunk.py",
        who="whoever reaches the trunk ports inside the cluster",
        largest=SLOT_BYTES,
        steps=4_000,
        becomes="drop counted by reason",
        open=made(_trunk),
        seeds=(from_node(*_FRAMES), from_node(_FRAMES[0]), from_node()),
        worst=_tables,
        refusals=(WireError,),
        weight=16,
    ),
    Row(
        name="claim",
        where="wire/claim.py",
        who="whoever has the trunk's key inside the cluster",
        largest=SLOT_BYTES,
        steps=200,
        becomes="drop counted by reason",
        open=plain(_claim),
        seeds=tuple(Claim(ufrag(), 1, 2).frame()[1] for _ in range(4)),
        worst=repeated(b"0", b"\xff"),
        refusals=(WireError,),
    ),
)
