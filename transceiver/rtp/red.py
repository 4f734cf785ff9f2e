"""Redundant audio, `audio/red` (RFC 2198 §3): earlier frames travel again inside a later packet.

┌1┬ PT 7 ┬ timestamp offset 14 ┬ length 10 ┐ … ┌0┬ PT 7 ┐ data of each block, the primary last
 a redundant block                              the primary
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transceiver.counters import Counted
from wire.errors import WireError

MAX_BLOCKS = 8  # Chrome sends at most 9 copies and mostly one; more is no help to anybody
MAX_OFFSET = 0x3FFF
MAX_BLOCK_BYTES = 0x3FF
BLOCK_HEADER_BYTES = 4


class Block(NamedTuple):
    """One encoding of one frame. `offset`: 48 kHz ticks before the packet's timestamp."""

    payload_type: int
    offset: int
    payload: bytes


def read(payload: bytes) -> list[Block]:
    """The blocks of a RED payload, oldest first; the last is the primary.

    Raises WireError: `red_short` when headers or data end early, `red_blocks` for too many.
    """
    headers, at = _read_headers(payload)
    blocks = []
    for payload_type, offset, size in headers:
        blocks.append(Block(payload_type, offset, payload[at : at + size]))
        at += size
    if at > len(payload):
        raise WireError(Counted.RED_SHORT)
    primary_type = payload[len(headers) * BLOCK_HEADER_BYTES]
    return [*blocks, Block(primary_type, 0, payload[at:])]


def _read_headers(payload: bytes) -> tuple[list[tuple[int, int, int]], int]:
    headers: list[tuple[int, int, int]] = []
    at = 0
    while at < len(payload) and payload[at] & 0x80:
        if len(headers) == MAX_BLOCKS:
            raise WireError(Counted.RED_BLOCKS)
        word = int.from_bytes(payload[at : at + BLOCK_HEADER_BYTES].ljust(BLOCK_HEADER_BYTES))
        headers.append((word >> 24 & 0x7F, word >> 10 & MAX_OFFSET, word & MAX_BLOCK_BYTES))
        at += BLOCK_HEADER_BYTES
    if at >= len(payload):
        raise WireError(Counted.RED_SHORT)
    return headers, at + 1


def write(redundant: Sequence[Block], payload_type: int, payload: bytes) -> bytes:
    """A RED payload. Offsets and lengths must be within MAX_OFFSET and MAX_BLOCK_BYTES."""
    headers = b"".join(
        (1 << 31 | b.payload_type << 24 | b.offset << 10 | len(b.payload)).to_bytes(4)
        for b in redundant
    )
    return b"".join((headers, bytes((payload_type,)), *(b.payload for b in redundant), payload))
