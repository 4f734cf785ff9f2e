"""The trunk: many clients' datagrams in one UDP datagram between a relay worker and a transceiver.

     0        1        2        3        4                             8
     ├────────┼────────┼────────┼────────┼─────────────────────────────┤
     │version │ key id │ frames │   0    │            tag …            │
     ├────────┴────────┴────────┴────────┼─────────────────────────────┤ 8
     │              … tag                │           sender            │
     ├───────────────────────────────────┼─────────────────────────────┤ 16
     │           unix time (s)           │           count             │
     ╞═══════════════════════════════════╧═════════════════════════════╡ 24
     │  frame table, 24 bytes each:                                    │
     │    client address (16, IPv4 mapped) · port (2) · length (2) ·   │
     │    type (1) · 0 (3)                                             │
     ╞═════════════════════════════════════════════════════════════════╡ 24 + 24 · frames
     │  payloads, one after another, in table order                    │
     └─────────────────────────────────────────────────────────────────┘

All integers are big-endian.

The table stands before the payloads, and not each frame's header before its payload, so that a
reader finds every frame by one cumulative sum over the lengths, without walking, and a sender can
leave payloads where the kernel put them (one iovec each).

`tag` is a 64-bit keyed BLAKE2b over what lies between it and the payloads: one contiguous run, so
that it costs one call. The four bytes before it are bound too: version by the person string, key
id by the key, frame count by the length of the run, the fourth must be 0. So the tag covers what
the trunk adds: who sends, in what order, which client, how long. What the trunk carries
authenticates itself end to end (STUN MESSAGE-INTEGRITY, DTLS, SRTP). Hashing payloads too would
cost three times as much (1400 bytes: 2.1 µs; table of 8: 0.6 µs) and protect nothing more.

`sender` names the sending process: for a transceiver `node << 16 | epoch`, for a relay worker 32
random bits; a restarted process gets a new one. `count` rises by one with every datagram of a
sender and wraps; `time` is the sender's clock. So a receiver can refuse what it has seen
(`wire.replay`) and, from a sender it does not know, what is too old to be fresh.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

from wire.errors import WireError
from wire.keys import KeyRing

VERSION = 1
HEADER_BYTES = 24
ENTRY_BYTES = 24
TAG_OFFSET = 4
TAG_BYTES = 8
TAGGED_FROM = TAG_OFFSET + TAG_BYTES
MAX_FRAMES = 56  # 56 empty frames fill a 1400-byte datagram
DEFAULT_MTU = 1400
# Of UDP payload: IPv6's smallest link (RFC 8200 §5), and jumbo frames.
SMALLEST_MTU, LARGEST_MTU = 1280, 9000
LONGEST_PACKET = 2048  # bytes of a client's datagram that is carried, whatever the MTU
# A receiver has room for the largest datagram of any MTU, so that a fleet can change it one
# process at a time. In whole table entries: then slots in a row are rows of entries too.
SLOT_BYTES = (LARGEST_MTU // ENTRY_BYTES + 2) * ENTRY_BYTES

_LEAD = struct.Struct("!BBBx")  # version, key id, frames
_ORIGIN = struct.Struct("!III")  # sender, time, count
_ENTRY = struct.Struct("!18sHI")
_TYPE_AT = 20  # in an entry
FIRST_TYPE_AT = HEADER_BYTES + _TYPE_AT
LAST_DATA_TYPE = 3
_TYPE_SHIFT = 24  # what follows a type is 0
_TAG_PERSON = b"trunk v1"


class FrameType(IntEnum):
    """What a frame carries."""

    DATAGRAM = 1  # one datagram from or to the client
    HEAD = 2  # the first part of one that is too long; alone in its trunk datagram
    TAIL = 3  # the rest of it: the first frame of the sender's next trunk datagram
    CLAIM = 4  # to a relay worker: whose a call is now (`wire.claim`)
    CLAIMED = 5  # its answer: the claim, after it has been carried out
    ALIVE = 6  # to a relay worker: nothing but that the sender lives; no address, no payload


CONTROL = frozenset(kind for kind in FrameType if kind > LAST_DATA_TYPE)
"""What process says to process. A datagram has frames of one of these types, or of none."""

# An int compares and packs in a third of an IntEnum's time.
_DATAGRAM = FrameType.DATAGRAM << _TYPE_SHIFT
_FIRST = {kind << _TYPE_SHIFT: kind for kind in FrameType}  # what the first frame may be
_CONTROL = frozenset(kind << _TYPE_SHIFT for kind in CONTROL)


@dataclass(frozen=True)
class Datagram:
    """One trunk datagram: `frames` are pairs of 18-byte client address and payload.

    `first` says whether the first frame is a whole datagram of the client or a part of one; or that
    all frames are of one type of `CONTROL`.
    """

    sender: int
    time_s: int
    count: int
    frames: tuple[tuple[bytes, bytes], ...]
    first: FrameType = FrameType.DATAGRAM


def max_payload(mtu: int) -> int:
    """Bytes of the largest payload that fits into one trunk datagram of `mtu` bytes."""
    return mtu - HEADER_BYTES - ENTRY_BYTES


def longest_packet(mtu: int) -> int:
    """Bytes of the largest client datagram that a relay carries, in two parts if need be."""
    return max(max_payload(mtu), LONGEST_PACKET)


class Tagger:
    """Makes and checks tags with the keys of one ring.

    The keyed hash is prepared once and copied for each datagram: half the cost of keying anew.
    """

    def __init__(self, keys: KeyRing) -> None:
        self.key_id = keys.current
        self._prepared = {
            key_id: blake2b(key=key, digest_size=TAG_BYTES, person=_TAG_PERSON)
            for key_id, key in keys.keys.items()
        }

    def tag(self, tagged: bytes | memoryview) -> bytes:
        """The tag over origin and frame table, with the current key."""
        state = self._prepared[self.key_id].copy()
        state.update(tagged)
        return state.digest()

    def tags(self, octets: memoryview, spans: Iterable[tuple[int, int]]) -> bytes:
        """`tag` of each span (start, end) of `octets`, one after another."""
        copy = self._prepared[self.key_id].copy
        tags = []
        for start, end in spans:
            state = copy()
            state.update(octets[start:end])
            tags.append(state.digest())
        return b"".join(tags)

    def check(self, datagram: bytes | memoryview) -> None:
        """Raise WireError unless `datagram` has its whole table and its tag holds.

        Reasons: `trunk_short`, `trunk_version`, `trunk_key`, `trunk_tag`, and for a table of no
        frame or more than `MAX_FRAMES` `trunk_empty` and `trunk_frames`. The entries are for the
        reader to check, after this.
        """
        if len(datagram) < HEADER_BYTES:
            raise WireError("trunk_short")
        if datagram[0] != VERSION or datagram[3]:
            raise WireError("trunk_version")
        prepared = self._prepared.get(datagram[1])
        if prepared is None:
            raise WireError("trunk_key")
        table_end = HEADER_BYTES + ENTRY_BYTES * datagram[2]
        if len(datagram) < table_end:
            raise WireError("trunk_short")
        state = prepared.copy()
        state.update(datagram[TAGGED_FROM:table_end])
        if not hmac.compare_digest(state.digest(), datagram[TAG_OFFSET:TAGGED_FROM]):
            raise WireError("trunk_tag")
        if not 0 < datagram[2] <= MAX_FRAMES:
            raise WireError("trunk_frames" if datagram[2] else "trunk_empty")


def pack(
    tagger: Tagger,
    sender: int,
    time_s: int,
    count: int,
    frames: Sequence[tuple[bytes, bytes]],
    first: FrameType = FrameType.DATAGRAM,
) -> bytes:
    """One datagram of 1 to `MAX_FRAMES` frames; the caller keeps to the MTU (see `fill`).

    A `first` of `CONTROL` is the type of all of them.
    """
    entry, kind = _ENTRY.pack, first << _TYPE_SHIFT if first in CONTROL else _DATAGRAM
    table = b"".join([entry(address, len(payload), kind) for address, payload in frames])
    if first is not FrameType.DATAGRAM:
        table = table[:_TYPE_AT] + bytes([first]) + table[_TYPE_AT + 1 :]
    tagged = _ORIGIN.pack(sender, time_s, count) + table
    lead = _LEAD.pack(VERSION, tagger.key_id, len(frames))
    return b"".join((lead, tagger.tag(tagged), tagged, *[payload for _, payload in frames]))


def fill(
    frames: Sequence[tuple[bytes, bytes]], mtu: int
) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    """Cut `frames` into runs that each fit one datagram of `mtu` bytes, keeping their order."""
    start, size = 0, HEADER_BYTES
    for index, (_, payload) in enumerate(frames):
        cost = ENTRY_BYTES + len(payload)
        if index > start and (size + cost > mtu or index - start == MAX_FRAMES):
            yield frames[start:index]
            start, size = index, HEADER_BYTES
        size += cost
    if start < len(frames):
        yield frames[start:]


def origin(octets: bytes | memoryview, start: int = 0) -> tuple[int, int, int]:
    """Sender, time and count of the datagram at `start`, which `Tagger.check` let pass."""
    origin: tuple[int, int, int] = _ORIGIN.unpack_from(octets, start + TAGGED_FROM)
    return origin


def read(tagger: Tagger, datagram: bytes) -> Datagram:
    """The frames of a datagram whose tag holds.

    Raises WireError: the reasons of `Tagger.check`, `trunk_length` (table and datagram disagree)
    or `trunk_frame_type` (one that we do not know, or one that does not belong there).
    """
    tagger.check(datagram)
    return parse(datagram)


def parse(datagram: bytes) -> Datagram:
    """As `read`, of a datagram that `Tagger.check` let pass."""
    sender, time_s, count = origin(datagram)
    offset = table_end = HEADER_BYTES + ENTRY_BYTES * datagram[2]
    expected, others = _kinds(datagram)
    first = _FIRST[expected]
    frames: list[tuple[bytes, bytes]] = []
    for address, length, kind in _ENTRY.iter_unpack(datagram[HEADER_BYTES:table_end]):
        if kind != expected:
            raise WireError("trunk_frame_type")
        expected = others
        frames.append((address, datagram[offset : offset + length]))
        offset += length
    if offset != len(datagram):
        raise WireError("trunk_length")
    return Datagram(sender, time_s, count, tuple(frames), first)


def _kinds(datagram: bytes) -> tuple[int, int]:
    """What the first frame is, and what the others must be then. Raises WireError."""
    _, _, first = _ENTRY.unpack_from(datagram, HEADER_BYTES)
    kind = _FIRST.get(first)
    if kind is None or (kind is FrameType.HEAD and datagram[2] > 1):
        raise WireError("trunk_frame_type")
    return first, first if first in _CONTROL else _DATAGRAM
