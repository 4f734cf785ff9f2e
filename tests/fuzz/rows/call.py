"""What a caller with keys sends through the relay: RTP, RTCP, RED, DTLS, SCTP, DCEP.

SRTP is left out on purpose: what does not authenticate gets no further than libsrtp, which the
hostile callers of this package reach. Here packets come as they are once they are open.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

from google_crc32c import value as crc32c

from tests.fuzz.mutation import Mutator, mutate
from tests.fuzz.row import Reader, Row, made
from tests.transceiver.caller import CALLER_CERTIFICATE, OUR_CERTIFICATE
from transceiver.data.channels import DataChannels
from transceiver.rtp import red
from transceiver.rtp.audio import AudioStream
from transceiver.transport.dtls import DtlsAssociation, Role
from transceiver.transport.srtp import SrtpSession
from wire import rtcp, rtp
from wire.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription

OPUS, REDUNDANT, SSRC = 111, 63, 0x1234
PLAIN_BYTES = 1352  # of a client's datagram that a trunk of 1,400 bytes carries
SCTP_BYTES = 2048


class _OpenSrtp:
    """Stands where the keys are: packets are as they are."""

    dropped: Counter[str]

    def unprotect_rtp(self, packet: bytes) -> bytes:
        return packet

    def protect_rtp(self, packet: bytes) -> bytes:
        return packet

    unprotect_rtcp, protect_rtcp = unprotect_rtp, protect_rtp


def _streams() -> list[AudioStream]:
    """A call whose backend wants Opus, and one whose backend wants PCM."""
    streams = [AudioStream(OPUS, "cname", 0.0, lambda: 0.5, REDUNDANT) for _ in range(2)]
    streams[1].fill_holes()
    for stream in streams:
        stream.start(cast(SrtpSession, _OpenSrtp()), 0.0)
    return streams


def _audio() -> Reader:
    streams, frames = _streams(), itertools.count()

    def read(packet: bytes) -> None:
        now = next(frames) * 0.02
        for stream in streams:
            stream.receive_rtp(packet, now)
            stream.window.expire(now)

    return read


def _reports() -> Reader:
    streams, frames = _streams(), itertools.count()

    def read(packet: bytes) -> None:
        now = next(frames) * 0.02
        for stream in streams:
            stream.receive_rtcp(packet, now)
            stream.poll(now)

    return read


def _redundant() -> Reader:
    read_rtp, numbers = _audio(), itertools.count()

    def read(payload: bytes) -> None:
        number = next(numbers)
        sequence, timestamp = number & 0xFFFF, 960 * number & 0xFFFF_FFFF
        read_rtp(rtp.write(REDUNDANT, False, sequence, timestamp, SSRC, payload))

    return read


def _voice(number: int, payload: bytes = bytes(40)) -> bytes:
    return rtp.write(OPUS, False, number, 960 * number, SSRC, payload)


_BLOCK = ReportBlock(0, 1, -1, 5, 6, 7, 8)
_COMPOUNDS = (
    rtcp.write([SenderReport(SSRC, 1 << 40, 2, 3, 4, (_BLOCK,)), SourceDescription(SSRC, "a@b")]),
    rtcp.write([ReceiverReport(SSRC, (_BLOCK,) * 31), Goodbye((SSRC, 1))]),
    rtcp.write([ReceiverReport(SSRC), SourceDescription(SSRC, "x" * 255)]),
)


def _compounds(size: int) -> Iterable[bytes]:
    """As many packets as fit: empty ones, full ones, and lists of sources that say nothing."""
    yield struct.pack("!BBHI", 0x80, 201, 1, SSRC) * (size // 8)
    yield struct.pack("!BBH", 0x80, 203, 0) * (size // 4)
    yield _COMPOUNDS[1] * max(1, size // len(_COMPOUNDS[1]))
    item = struct.pack("!I", SSRC) + bytes(4)
    yield (struct.pack("!BBH", 0x9F, 202, 31 * 2) + item * 31) * (size // 252)
    items = b"\x01\x00" * ((size - 12) // 4 * 2)
    yield struct.pack("!BBHI", 0x81, 202, len(items) // 4 + 2, SSRC) + items + bytes(4)


def _redundancies(size: int) -> Iterable[bytes]:
    """Block headers without end, and many blocks of nothing or of all there is."""
    yield b"\xef\x00\x00\x00" * (size // 4)
    yield (b"\xef\x0f\xc0\x00" * red.MAX_BLOCKS + b"\x6f").ljust(size, b"x")
    yield (b"\xef\x0f\xc0\x64" * red.MAX_BLOCKS + b"\x6f").ljust(size, b"x")


def _frames(size: int) -> Iterable[bytes]:
    """Extensions and padding as long as the packet; sequence numbers that leap."""
    head = bytearray(_voice(7))
    head[0] = 0x9F
    words = (size - 12 - 60 - 4) // 4
    yield bytes(head[:12]) + bytes(60) + b"\xbe\xde" + words.to_bytes(2) + bytes(4 * words)
    yield _voice(30_000, bytes(size - 12))


# DTLS.


def _handshake() -> Reader:
    """Both roles, each in the middle of a handshake; a stranger knows the address at most."""
    ends = [
        DtlsAssociation(role, OUR_CERTIFICATE, [CALLER_CERTIFICATE.fingerprint], 0.0)
        for role in Role
    ]

    def read(datagram: bytes) -> None:
        for end in ends:
            end.handle_datagram(datagram, 0.0)
            while end.poll_event() is not None:
                pass
            while end.poll_transmit() is not None:
                pass

    return read


def _flights() -> tuple[bytes, ...]:
    """What two ends say to each other, recorded."""
    ends = {
        Role.CLIENT: DtlsAssociation(
            Role.CLIENT, CALLER_CERTIFICATE, [OUR_CERTIFICATE.fingerprint], 0.0
        ),
        Role.SERVER: DtlsAssociation(
            Role.SERVER, OUR_CERTIFICATE, [CALLER_CERTIFICATE.fingerprint], 0.0
        ),
    }
    datagrams: list[bytes] = []
    for _ in range(4):
        for role, other in ((Role.CLIENT, Role.SERVER), (Role.SERVER, Role.CLIENT)):
            while (datagram := ends[role].poll_transmit()) is not None:
                datagrams.append(datagram)
                ends[other].handle_datagram(datagram, 0.0)
    return tuple(datagrams)


def _records(size: int) -> Iterable[bytes]:
    """Empty records, alerts and pieces of one message that never ends, as many as fit."""
    for kind, body in ((22, b""), (21, b"\x01\x00"), (22, b"\x01\xff\xff\xff" + bytes(8))):
        record = bytes((kind,)) + b"\xfe\xfd" + bytes(8) + len(body).to_bytes(2) + body
        yield record * (size // len(record))


# SCTP and DCEP.


class _Pair:
    """Two ends of an association without a network; packets to ours may be recorded."""

    def __init__(self) -> None:
        self.recorded: list[bytes] = []
        self.faults: list[Exception] = []
        self.ours = self._end(Role.SERVER, self._to_caller)
        self.caller = self._end(Role.CLIENT, self._to_us)
        self.last = b""

    def _end(self, role: Role, send: Any) -> DataChannels:
        return DataChannels(
            role,
            remote_port=5000,
            remote_max_message_size=65536,
            send=send,
            on_message=_ignore,
            on_open=_ignore,
            on_close=_ignore,
            on_fault=self.faults.append,
        )

    def _to_us(self, packet: bytes) -> None:
        self.recorded.append(packet)
        self.ours.handle_data(packet)

    def _to_caller(self, packet: bytes) -> None:
        self.last = packet
        self.caller.handle_data(packet)

    async def start(self) -> None:
        await self.ours.start()
        await self.caller.start()
        self.caller.open("oai-events")
        for text in ("{}", "x" * 3000):
            await asyncio.sleep(0)
            self.caller.send("oai-events", text)
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.caller.close()
        self.ours.close()
        await asyncio.sleep(0)

    def header(self) -> bytes:
        """The common header of what the caller sends: ports and our tag."""
        return self.recorded[-1][:8] + bytes(4)

    def next_tsn(self) -> int:
        """The number of the DATA chunk that is due."""
        received = self.ours._association._last_received_tsn or 0
        return (received + 1) & 0xFFFF_FFFF


def _ignore(*_: object) -> None:
    pass


def checked(packet: bytes) -> bytes:
    """The packet with the checksum that is right for it."""
    plain = packet[:8] + bytes(4) + packet[12:]
    return packet[:8] + struct.pack("<L", crc32c(plain)) + packet[12:]


@asynccontextmanager
async def _association() -> AsyncIterator[Reader]:
    """Our end of an association that is up: chunks come with ports, tag and checksum right."""
    pair = _Pair()
    await pair.start()
    caller, pair.caller = pair.caller, pair.ours  # what we answer goes nowhere
    pair._to_caller = _ignore  # type: ignore[method-assign,assignment]
    pair.ours._association._pipe._send = _ignore

    def read(chunks: bytes) -> None:
        tsn = pair.next_tsn().to_bytes(4)
        if chunks[:1] == b"\x00" and len(chunks) > 8:  # else no DATA chunk would ever be taken
            chunks = chunks[:4] + tsn + chunks[8:]
        pair.ours.handle_data(checked(pair.header() + chunks))
        if pair.faults:
            raise pair.faults.pop()

    try:
        yield read
    finally:
        pair.caller = caller
        await pair.close()


@asynccontextmanager
async def _openings() -> AsyncIterator[Reader]:
    """The same for the bytes of one DCEP message, each on the stream after the last."""
    numbers = itertools.count()
    async with _association() as chunks:

        def read(message: bytes) -> None:
            stream = 2 * next(numbers) % 1024
            value = struct.pack("!LHHL", 0, stream, 0, 50) + message
            chunks(struct.pack("!BBH", 0, 3, 4 + len(value)) + value + bytes(-len(value) % 4))

        yield read


def _chunk(kind: int, flags: int, value: bytes) -> bytes:
    return struct.pack("!BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


_OPEN = struct.pack("!BBHLHH", 3, 0, 0, 1, 10, 0) + b"oai-events"
_CHUNKS = (
    _chunk(0, 3, struct.pack("!LHHL", 0, 2, 0, 50) + _OPEN),
    _chunk(0, 3, struct.pack("!LHHL", 0, 1, 0, 51) + b'{"type":"response.create"}'),
    _chunk(0, 2, struct.pack("!LHHL", 0, 1, 1, 53) + bytes(900)),
    _chunk(1, 0, struct.pack("!LLHHL", 1, 1 << 16, 10, 10, 7)),
    _chunk(3, 0, struct.pack("!LLHH", 5, 1 << 16, 1, 0) + struct.pack("!HH", 2, 9)),
    _chunk(4, 0, struct.pack("!HH", 1, 44) + bytes(40)),
    _chunk(9, 0, struct.pack("!HH", 1, 8) + bytes(4)),
    _chunk(10, 0, bytes(40)),
    _chunk(130, 0, struct.pack("!HHLLLH", 13, 18, 1, 1, 7, 1)),
    _chunk(192, 0, struct.pack("!LHH", 9, 1, 3)),
)


def _bundles(size: int) -> Iterable[bytes]:
    """As many chunks as fit, of each kind; gaps and parameters without end."""
    room = size - 12
    for chunk in _CHUNKS:
        yield chunk * max(1, room // len(chunk))
    gaps = (room - 16) // 4
    edges = b"".join(struct.pack("!HH", 2 * n + 2, 2 * n + 2) for n in range(gaps))
    yield _chunk(3, 0, struct.pack("!LLHH", 5, 1 << 16, gaps, 0) + edges)
    yield _chunk(9, 0, b"\x00\x01\x00\x04" * ((room - 4) // 4))
    yield _chunk(192, 0, struct.pack("!L", 1 << 30) + b"\x00\x01\x00\x03" * ((room - 8) // 4))


def _chunk_damage() -> Mutator:
    def damage(chance: Any, packet: bytes) -> bytes:
        data = bytearray(mutate(chance, packet))
        if len(data) >= 4 and chance.random() < 0.8:  # else nearly all are too long or short
            data[2:4] = len(data).to_bytes(2)
            data += bytes(-len(data) % 4)
        if data[:1] in (b"\x06", b"\x07", b"\x0e") and chance.random() < 0.99:
            data[0] = 0  # farewells end it: now and then is enough
        return bytes(data)

    return damage


ROWS = (
    Row(
        name="RTP",
        where="wire/rtp.py",
        who="callers",
        largest=PLAIN_BYTES,
        steps=4_000,
        becomes="drop counted by reason",
        open=made(_audio),
        seeds=(
            *map(_voice, range(1, 60)),
            b"\xb3\x6f" + bytes(22) + b"\xbe\xde\x00\x01" + bytes(9),
        ),
        worst=_frames,
        weight=8,
    ),
    Row(
        name="RTCP",
        where="wire/rtcp.py",
        who="callers",
        largest=PLAIN_BYTES,
        steps=60_000,
        becomes="drop counted by reason",
        open=made(_reports),
        seeds=_COMPOUNDS,
        worst=_compounds,
        weight=8,
    ),
    Row(
        name="RED",
        where="transceiver/rtp/red.py",
        who="callers",
        largest=PLAIN_BYTES,
        steps=10_000,
        becomes="drop counted by reason",
        open=made(_redundant),
        seeds=(
            red.write([red.Block(OPUS, 960, bytes(40))], OPUS, bytes(50)),
            red.write([red.Block(OPUS, 960 * n, bytes(9)) for n in (3, 2, 1)], OPUS, b"x"),
        ),
        worst=_redundancies,
        weight=6,
    ),
    Row(
        name="DTLS",
        where="transceiver/transport/dtls.py",
        who="whoever has passed a check, or copies its address",
        largest=PLAIN_BYTES,
        steps=12_000,
        becomes="drop counted by reason; the call fails when its handshake cannot end",
        open=made(_handshake),
        seeds=_flights(),
        worst=_records,
        weight=2,
        renew_after=200,
    ),
    Row(
        name="SCTP",
        where="transceiver/data/sctp_screen.py",
        who="callers",
        largest=SCTP_BYTES,
        steps=100_000,
        becomes="drop counted by reason",
        open=_association,
        seeds=_CHUNKS,
        worst=_bundles,
        mutate=_chunk_damage(),
        weight=3,
        renew_after=500,
    ),
    Row(
        name="DCEP",
        where="transceiver/data/sctp.py",
        who="callers",
        largest=PLAIN_BYTES,
        steps=4_000,
        becomes="drop counted by reason",
        open=_openings,
        seeds=(_OPEN, b"\x02", _OPEN[:4] + bytes(8)),
        worst=lambda size: (
            struct.pack("!BBHLHH", 3, 0, 0, 1, size - 12, 0) + b"x" * (size - 12),
            struct.pack("!BBHLHH", 3, 0x81, 0, 1, 0, size - 12) + b"\xff" * (size - 12),
        ),
        weight=3,
        renew_after=500,
    ),
)
