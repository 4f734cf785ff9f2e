"""A caller with real keys who sends what no caller should: each method one kind of malice.

What is written is protected as the protocol wants, so that it gets past authentication; what
libsrtp itself will not protect goes out as it is.
"""

from __future__ import annotations

import random
import struct

import google_crc32c
import pylibsrtp

from tests.fuzz.mutation import mutate
from tests.transceiver.caller import PAYLOAD_TYPE, VOICE_SSRC, Caller
from transceiver.data.channels import DataChannels
from transceiver.transport.dtls import ApplicationData, Closed, Connected, Event, Failed
from transceiver.transport.dtls_records import ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE
from wire import rtcp, rtp
from wire.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription

MAX_PACKET_BYTES = 1180  # of plaintext: what DTLS and SRTP here take
NEW_SOURCE = 0.01  # of its packets: an engine takes 64 sources of a call, then nothing new
FAREWELL = 0.003  # of its SCTP chunks: they end the association, and with it the malice
MEMORY = 32  # own packets kept, to be repeated and changed


class HostileCaller(Caller):
    """Connects like anybody; `attack` then puts one hostile datagram or a few into `out`."""

    chance = random.Random(0)

    def attack(self) -> None:
        """One act, chosen by chance."""
        acts = (
            *(self.mutated_rtp, self.wild_rtp, self.mutated_rtcp, self.wild_reports),
            *(self.mutated_sctp, self.wild_chunks, self.mutated_dtls, self.stray_records),
            self.repeated_datagrams,
        )
        self.chance.choice(acts)()
        if len(self.out) > 64:
            self.chance.shuffle(self.out)  # flights and media out of order
            del self.out[64:]

    # RTP.

    def mutated_rtp(self) -> None:
        """A voice packet with changed bytes, header and all."""
        self._rtp(mutate(self.chance, self._voice(self.chance.randbytes(40))))

    def wild_rtp(self) -> None:
        """Whole packets that lie: jumps, other sources, padding, RED, empty and endless frames."""
        chance = self.chance
        packet = rtp.write(
            chance.choice((PAYLOAD_TYPE, 63, 0, 13, 127)),
            chance.random() < 0.5,
            chance.choice((self.sequence, chance.getrandbits(16))),
            chance.choice((self.timestamp, chance.getrandbits(32))),
            chance.getrandbits(32) if chance.random() < NEW_SOURCE else VOICE_SSRC,
            chance.randbytes(chance.choice((0, 1, 2, 3, 40, 1100))),
        )
        first = packet[0] | chance.choice((0, 0x10, 0x20, 0x0F, 0x3F))
        self._rtp(bytes((first,)) + packet[1:])

    # RTCP.

    def mutated_rtcp(self) -> None:
        """A sound compound with changed bytes behind its first header."""
        compound = rtcp.write(self._compound())
        self._rtcp(compound[:8] + mutate(self.chance, compound[8:]))

    def wild_reports(self) -> None:
        """Reports that cannot be true, about our stream too."""
        self._rtcp(rtcp.write(self._compound()))

    def _compound(self) -> list[rtcp.RtcpPacket]:
        chance = self.chance
        ours = self.heard[-1].ssrc if self.heard else 0
        block = ReportBlock(
            chance.choice((ours, chance.getrandbits(32))),
            chance.getrandbits(8),
            chance.randint(-(1 << 23), (1 << 23) - 1),
            chance.getrandbits(32),
            chance.getrandbits(32),
            chance.getrandbits(32),
            chance.getrandbits(32),
        )
        blocks = (block,) * chance.choice((0, 1, 2, 15, 31))
        report = SenderReport(VOICE_SSRC, *(chance.getrandbits(32) for _ in range(4)), blocks)  # type: ignore[arg-type, call-arg]
        rest = (
            SourceDescription(VOICE_SSRC, "x" * chance.randrange(256)),
            Goodbye((VOICE_SSRC,) * chance.randrange(3)),
            ReceiverReport(VOICE_SSRC, blocks),
        )
        return [report, *chance.sample(rest, chance.choice((0, 0, 1, 2)))]  # type: ignore[list-item]

    # SCTP inside DTLS.

    def mutated_sctp(self) -> None:
        """An own SCTP packet with changed bytes and a checksum that is right again."""
        if self.sctp_sent:
            self._sctp(mutate(self.chance, self.chance.choice(self.sctp_sent)))

    def wild_chunks(self) -> None:
        """Chunks of every kind, one or many a packet, with numbers near what is true and far."""
        if not self.sctp_sent:
            return
        header = self.sctp_sent[-1][:12]
        chunks = b"".join(self._chunk() for _ in range(self.chance.choice((1, 1, 2, 5, 70))))
        self._sctp(header + chunks)

    def _chunk(self) -> bytes:
        chance = self.chance
        tsn = (self.last_tsn + chance.choice((0, 1, 2, 300, 1 << 20, 1 << 31))) & 0xFFFF_FFFF
        stream = chance.choice((0, 1, 2, 1023, 1024, 65535))
        opening = struct.pack("!BBHLHH", 3, chance.choice((0, 1, 2, 0x80)), 0, 1, 4, 0) + b"abcd"
        kind, flags, value = chance.choice(
            (
                (0, chance.randrange(8), struct.pack("!LHHL", tsn, stream, chance.getrandbits(16),
                                                     chance.choice((50, 51, 53, 56, 57, 9)))
                 + chance.choice((opening, b"", b"\xff\xfe", chance.randbytes(900)))),
                (1, 0, struct.pack("!LLHHL", 1, 1 << 16, 10, 10, tsn)),
                (2, 0, struct.pack("!LLHHL", 1, 1 << 16, 10, 10, tsn) + chance.randbytes(24)),
                (3, 0, struct.pack("!LLHH", tsn, chance.getrandbits(32), 1, 0)
                 + struct.pack("!HH", 1, chance.getrandbits(16))),
                (4, 0, struct.pack("!HH", 1, 44) + chance.randbytes(40)),
                (6, 0, b""),
                (7, 0, struct.pack("!L", tsn)),
                (8, 0, b""),
                (9, 0, struct.pack("!HH", 1, chance.choice((0, 4, 8)))),
                (10, 0, chance.randbytes(40)),
                (11, 0, b""),
                (14, 0, b""),
                (130, 0, struct.pack("!HHLLLH", 13, 18, 1, 1, tsn, stream)),
                (192, 0, struct.pack("!LHH", tsn, stream, chance.getrandbits(16))),
                (chance.getrandbits(8), chance.getrandbits(8), chance.randbytes(12)),
            )
        )  # fmt: skip
        if kind in (6, 7, 8, 14) and chance.random() > FAREWELL:
            return b""  # these end the association: now and then is enough
        return struct.pack("!BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)

    # DTLS.

    def mutated_dtls(self) -> None:
        """An own datagram with changed bytes."""
        if self.dtls_sent:
            self.out.append(mutate(self.chance, self.chance.choice(self.dtls_sent)))

    def stray_records(self) -> None:
        """Handshake messages, alerts and data of both epochs that belong nowhere."""
        chance = self.chance
        kind = chance.choice((CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, 23, 24, 25, 63))
        body = chance.choice((b"", b"\x02\x28", b"\x01\x00", chance.randbytes(60), client_hello()))
        number = chance.choice((0, 1, 1 << 40, (1 << 48) - 1)).to_bytes(6)
        record = bytes((kind,)) + b"\xfe\xfd" + chance.choice((0, 1, 2, 65535)).to_bytes(2) + number
        self.out.append((record + len(body).to_bytes(2) + body) * chance.choice((1, 1, 20)))

    def repeated_datagrams(self) -> None:
        """What it once sent, again, in another order."""
        count = min(len(self.dtls_sent), self.chance.randrange(6))
        self.out += self.chance.sample(self.dtls_sent, count)

    # Inside.

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.sctp_sent: list[bytes] = []
        self.dtls_sent: list[bytes] = []
        self.last_tsn = 0

    def pump(self, now: float) -> None:
        before = len(self.out)
        super().pump(now)
        self._keep(self.dtls_sent, *self.out[before:])

    def _on_dtls(self, event: Event) -> None:
        if isinstance(event, Closed | Failed):
            self.events.append(event)
        elif not isinstance(event, ApplicationData) or self.channels is not None:
            super()._on_dtls(event)
        if isinstance(event, Connected) and isinstance(self.channels, DataChannels):
            self.last_tsn = self.channels._association._local_tsn

    def _send_sctp(self, packet: bytes) -> None:
        self._keep(self.sctp_sent, packet)
        before = len(self.out)
        super()._send_sctp(packet)
        self._keep(self.dtls_sent, *self.out[before:])

    def _keep(self, memory: list[bytes], *packets: bytes) -> None:
        memory += packets
        del memory[:-MEMORY]

    def _voice(self, payload: bytes) -> bytes:
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + 960) & 0xFFFF_FFFF
        return rtp.write(PAYLOAD_TYPE, False, self.sequence, self.timestamp, VOICE_SSRC, payload)

    def _rtp(self, packet: bytes) -> None:
        assert self.srtp is not None
        self._protected(self.srtp.protect_rtp, packet)

    def _rtcp(self, packet: bytes) -> None:
        assert self.srtp is not None
        self._protected(self.srtp.protect_rtcp, packet)

    def _protected(self, protect, packet: bytes) -> None:  # type: ignore[no-untyped-def]
        try:
            self.out.append(protect(packet[:MAX_PACKET_BYTES]))
        except pylibsrtp.Error:
            self.out.append(packet)

    def _sctp(self, packet: bytes) -> None:
        plain = packet[:8] + bytes(4) + packet[12:MAX_PACKET_BYTES]
        checksum = google_crc32c.value(plain)
        sound = plain[:8] + struct.pack("<L", checksum) + plain[12:]
        if self.dtls is not None and self.dtls.connected and self.dtls.send(sound):
            self.pump(0.0)


def client_hello() -> bytes:
    """A whole, plain ClientHello message of DTLS 1.2 with nothing in it but a cipher."""
    body = b"\xfe\xfd" + random.Random(1).randbytes(32) + b"\x00\x00" + b"\x00\x02\xc0\x2b\x01\x00"
    length = len(body).to_bytes(3)
    return b"\x01" + length + bytes(2) + bytes(3) + length + body
