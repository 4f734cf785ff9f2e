"""DTLS records on the wire (RFC 6347 §4.1): cutting datagrams into records and joining them.

 0      1        3       5                11       13
┌──────┬────────┬───────┬────────────────┬────────┬───────────
│ type │ version│ epoch │ sequence number│ length │ fragment …
└──────┴────────┴───────┴────────────────┴────────┴───────────
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

HEADER_BYTES = 13
MAX_RECORDS = 32  # in one datagram; a flight of browsers has at most ten
MAX_DATAGRAM_BYTES = 1200  # what we build: fits the IPv6 minimum MTU under a relay's trunk header

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23


def split_records(data: bytes) -> list[bytes] | None:
    """The records in `data`; None when they are not whole, or more than MAX_RECORDS."""
    records: list[bytes] = []
    start = 0
    while start < len(data):
        header = data[start : start + HEADER_BYTES]
        if len(header) < HEADER_BYTES or not is_header(header):
            return None
        end = start + HEADER_BYTES + int.from_bytes(header[11:13], "big")
        if end > len(data) or len(records) == MAX_RECORDS:
            return None
        records.append(data[start:end])
        start = end
    return records


def is_header(header: bytes) -> bool:
    """Whether these are a DTLS 1.0–1.2 record's first bytes."""
    return CHANGE_CIPHER_SPEC <= header[0] <= APPLICATION_DATA and header[1:3] in (
        b"\xfe\xff",
        b"\xfe\xfd",
    )


def epoch(record: bytes) -> int:
    """0 is plaintext, 1 and up are protected."""
    return int.from_bytes(record[3:5], "big")


def sequence(record: bytes) -> int:
    """The 48-bit sequence number within the epoch."""
    return int.from_bytes(record[5:11], "big")


def with_sequence(record: bytes, number: int) -> bytes:
    """The same plaintext record under another sequence number (nothing authenticates it)."""
    return record[:5] + number.to_bytes(6, "big") + record[11:]


def message_sequence(record: bytes) -> int | None:
    """The `message_seq` of a plaintext handshake record, which a retransmission repeats."""
    if record[0] != HANDSHAKE or epoch(record) or len(record) < HEADER_BYTES + 12:
        return None
    return int.from_bytes(record[HEADER_BYTES + 4 : HEADER_BYTES + 6], "big")


def pack(records: Iterable[bytes], limit_bytes: int = MAX_DATAGRAM_BYTES) -> Iterator[bytes]:
    """Datagrams of whole records, as few as fit; a record above the limit travels alone."""
    datagram = b""
    for record in records:
        if datagram and len(datagram) + len(record) > limit_bytes:
            yield datagram
            datagram = b""
        datagram += record
    if datagram:
        yield datagram
