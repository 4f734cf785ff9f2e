"""STUN messages (RFC 8489) as ICE uses them (RFC 8445 §7).

Reading finds attributes wherever they stand and has no small size limit: DTLS-in-STUN
(draft-hancke-webrtc-sped) makes checks of nearly an MTU. Nothing here answers or decides.
"""

from __future__ import annotations

import hmac
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from wire.address import V4_MAPPED_PREFIX, is_v4
from wire.errors import WireError

MAGIC_COOKIE = 0x2112A442
HEADER_BYTES = 20
FINGERPRINT_XOR = 0x5354554E
MAX_USERNAME_BYTES = 508  # RFC 8489 §14.3: fewer than 509
MAX_ATTRIBUTES = 32  # browsers send eight; a stranger's packet must not cost more than a look

_HEADER = struct.Struct("!HHI12s")
_TLV = struct.Struct("!HH")
_COOKIE_BYTES = MAGIC_COOKIE.to_bytes(4)


class Method(IntEnum):
    """Methods this package knows."""

    BINDING = 0x001


class MessageClass(IntEnum):
    """The two class bits of the message type, in place (RFC 8489 §5)."""

    REQUEST = 0x000
    INDICATION = 0x010
    SUCCESS = 0x100
    ERROR = 0x110


class Attribute(IntEnum):
    """Attribute types (RFC 8489 §18.3, RFC 8445 §16.1)."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


@dataclass(frozen=True)
class Message:
    """One STUN message. `attributes` keeps the order, and the first of each type counts (§5)."""

    method: int
    message_class: MessageClass
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...] = field(repr=False)  # a USERNAME is among them
    integrity_offset: int | None = None  # where MESSAGE-INTEGRITY starts, if it is there

    def find(self, attribute: int) -> bytes | None:
        """Value of the first attribute of that type."""
        return next((value for kind, value in self.attributes if kind == attribute), None)


def read(packet: bytes) -> Message:
    """The message in `packet`.

    Raises WireError: `stun_short`, `stun_type` (the two top bits), `stun_cookie`, `stun_length`
    (not that of the packet, or not a multiple of 4), `stun_attribute` (one runs over the end, or
    there are more than MAX_ATTRIBUTES) or `stun_fingerprint` (present and wrong, or not last).
    """
    if len(packet) < HEADER_BYTES:
        raise WireError("stun_short")
    kind, length, cookie, transaction_id = _HEADER.unpack_from(packet)
    if kind & 0xC000:
        raise WireError("stun_type")
    if cookie != MAGIC_COOKIE:
        raise WireError("stun_cookie")
    if length % 4 or HEADER_BYTES + length != len(packet):
        raise WireError("stun_length")
    attributes, integrity_offset = _read_attributes(packet)
    return Message(
        method=(kind & 0x3E00) >> 2 | (kind & 0x00E0) >> 1 | kind & 0x000F,
        message_class=MessageClass(kind & 0x0110),
        transaction_id=transaction_id,
        attributes=attributes,
        integrity_offset=integrity_offset,
    )


def _read_attributes(packet: bytes) -> tuple[tuple[tuple[int, bytes], ...], int | None]:
    attributes: list[tuple[int, bytes]] = []
    integrity_offset, count = None, 0
    offset, end = HEADER_BYTES, len(packet)
    while offset < end:
        kind, length = _TLV.unpack_from(packet, offset)
        value_end = offset + 4 + length
        count += 1
        if value_end > end or count > MAX_ATTRIBUTES:
            raise WireError("stun_attribute")
        if kind == Attribute.FINGERPRINT:
            _check_fingerprint(packet, offset, length)
        # RFC 8489 §14.5: after MESSAGE-INTEGRITY everything but FINGERPRINT is ignored.
        elif integrity_offset is None:
            attributes.append((kind, packet[offset + 4 : value_end]))
            if kind == Attribute.MESSAGE_INTEGRITY:
                integrity_offset = offset
        offset = value_end + (-length % 4)
    return tuple(attributes), integrity_offset


def _check_fingerprint(packet: bytes, offset: int, length: int) -> None:
    if length != 4 or offset + 8 != len(packet):
        raise WireError("stun_fingerprint")
    (value,) = struct.unpack_from("!I", packet, offset + 4)
    if value != zlib.crc32(packet[:offset]) ^ FINGERPRINT_XOR:
        raise WireError("stun_fingerprint")


def has_integrity(message: Message, packet: bytes, password: str) -> bool:
    """Whether MESSAGE-INTEGRITY is there and made with `password` (RFC 8489 §14.5, short-term).

    `packet` must be the bytes `message` was read from.
    """
    offset = message.integrity_offset
    value = message.find(Attribute.MESSAGE_INTEGRITY)
    if offset is None or value is None:
        return False
    return hmac.compare_digest(value, _integrity(packet[:offset], password))


def username(message: Message) -> tuple[str, str]:
    """The two ufrags of USERNAME: receiver's, sender's (RFC 8445 §7.2.2).

    Raises WireError: `stun_no_username`, or `stun_username` when it is not `a:b` in ASCII.
    """
    value = message.find(Attribute.USERNAME)
    if value is None:
        raise WireError("stun_no_username")
    if len(value) > MAX_USERNAME_BYTES or not value.isascii():
        raise WireError("stun_username")
    receiver, colon, sender = value.decode("ascii").partition(":")
    if not (receiver and colon and sender):
        raise WireError("stun_username")
    return receiver, sender


def write(
    method: int,
    message_class: MessageClass,
    transaction_id: bytes,
    attributes: Sequence[tuple[int, bytes]] = (),
    password: str | None = None,
    *,
    fingerprint: bool = True,
) -> bytes:
    """Bytes of a message; with `password` MESSAGE-INTEGRITY is added, FINGERPRINT comes last."""
    kind = (method & 0xF80) << 2 | (method & 0x070) << 1 | method & 0x00F | message_class
    body = b"".join(_attribute(number, value) for number, value in attributes)
    packet = _HEADER.pack(kind, len(body), MAGIC_COOKIE, transaction_id) + body
    if password is not None:
        packet += _attribute(Attribute.MESSAGE_INTEGRITY, _integrity(packet, password))
        packet = _with_length(packet, len(packet) - HEADER_BYTES)
    if fingerprint:
        packet = _with_length(packet, len(packet) - HEADER_BYTES + 8)
        crc = zlib.crc32(packet) ^ FINGERPRINT_XOR
        packet += _attribute(Attribute.FINGERPRINT, crc.to_bytes(4))
    return packet


def _attribute(kind: int, value: bytes) -> bytes:
    return _TLV.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _with_length(packet: bytes, length: int) -> bytes:
    return packet[:2] + length.to_bytes(2) + packet[4:]


def _integrity(before: bytes, password: str) -> bytes:
    # §14.5: the length in the header counts up to and with MESSAGE-INTEGRITY (24 bytes).
    covered = _with_length(before, len(before) - HEADER_BYTES + 24)
    return hmac.digest(password.encode(), covered, "sha1")


def xor_address(address: bytes, transaction_id: bytes) -> bytes:
    """Value of XOR-MAPPED-ADDRESS (§14.2) for an 18-byte address (`wire.address`)."""
    port = int.from_bytes(address[16:18]) ^ MAGIC_COOKIE >> 16
    if is_v4(address):
        return struct.pack("!HH", 1, port) + _xor(address[12:16], _COOKIE_BYTES)
    return struct.pack("!HH", 2, port) + _xor(address[:16], _COOKIE_BYTES + transaction_id)


def read_xor_address(value: bytes, transaction_id: bytes) -> bytes:
    """The 18-byte address in a XOR-MAPPED-ADDRESS value. Raises WireError `stun_address`."""
    family, host = value[:2], value[4:]
    if family == b"\x00\x01" and len(host) == 4:
        packed = V4_MAPPED_PREFIX + _xor(host, _COOKIE_BYTES)
    elif family == b"\x00\x02" and len(host) == 16:
        packed = _xor(host, _COOKIE_BYTES + transaction_id)
    else:
        raise WireError("stun_address")
    port = int.from_bytes(value[2:4]) ^ MAGIC_COOKIE >> 16
    return packed + port.to_bytes(2)


def error_code(code: int, reason: str) -> bytes:
    """Value of ERROR-CODE (§14.8), for instance 487 "Role Conflict"."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()


def read_error_code(value: bytes) -> int:
    """The number in an ERROR-CODE value. Raises WireError `stun_error_code`."""
    if len(value) < 4:
        raise WireError("stun_error_code")
    return (value[2] & 7) * 100 + value[3]


def _xor(left: bytes, right: bytes) -> bytes:
    size = len(left)
    return (int.from_bytes(left) ^ int.from_bytes(right[:size])).to_bytes(size)
