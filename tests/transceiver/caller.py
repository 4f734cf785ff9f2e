"""A scripted caller and a scripted backend, for tests of sessions and of the engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from transceiver.call.offer import AudioOffer, DataOffer, Fingerprint, Offer
from transceiver.data.channels import DataChannels
from transceiver.data.sctp import run
from transceiver.link.call_handle import CallHandle, CallSink
from transceiver.link.errors import BackendAbsent
from transceiver.link.model_link import ModelLink
from transceiver.link.position import NOWHERE, Position
from transceiver.transport.certificate import LocalCertificate
from transceiver.transport.dtls import (
    ApplicationData,
    Closed,
    Connected,
    DtlsAssociation,
    Event,
    Failed,
    Role,
)
from transceiver.transport.srtp import SrtpSession
from trunkline.v1 import model_pb2
from wire import rtcp, rtp, stun
from wire.address import pack_address
from wire.classify import PacketKind, classify
from wire.stun import Attribute, MessageClass, Method

OUR_CERTIFICATE, CALLER_CERTIFICATE = LocalCertificate(), LocalCertificate()
HOME = pack_address("203.0.113.7", 40000)
AWAY = pack_address("198.51.100.9", 40001)
PAYLOAD_TYPE = 109
VOICE_SSRC = 0x1234


def make_offer(dtls_role: str = "client", *, data: bool = True, receives: bool = True) -> Offer:
    fingerprint = CALLER_CERTIFICATE.fingerprint
    return Offer(
        ufrag="caller",
        password="c" * 24,
        fingerprints=(Fingerprint(fingerprint.algorithm, fingerprint.value),),
        dtls_role="client" if dtls_role == "client" else "server",
        audio=AudioOffer("0", PAYLOAD_TYPE, VOICE_SSRC, receives=receives, sends=True),
        data=DataOffer("1", 5000, 262144) if data else None,
        mids=("0", "1") if data else ("0",),
    )


class Caller:
    """The browser's side: writes datagrams into `out`, keeps what it hears."""

    def __init__(self, offer: Offer, ufrag: str, password: str, now: float = 0.0) -> None:
        self.offer = offer
        self.ufrag, self.password = ufrag, password
        self.remote_ufrag, self.remote_password = offer.ufrag, offer.password
        self.checked = 0  # checks of the transceiver, which were answered
        self.role = Role.SERVER if offer.dtls_role == "client" else Role.CLIENT
        self.out: list[bytes] = []
        self.responses: list[stun.Message] = []
        self.heard: list[rtp.RtpPacket] = []
        self.rtcp: list[rtcp.RtcpPacket] = []
        self.messages: list[tuple[str, str | bytes]] = []
        self.opened: list[str] = []
        self.events: list[Event] = []
        self.srtp: SrtpSession | None = None
        self.channels: DataChannels | None = None
        self.dtls: DtlsAssociation | None = None
        self.sequence, self.timestamp = 0xFFF0, 0xFFFF_0000

    def check(self, *, nominate: bool = True, password: str | None = None) -> None:
        attributes: list[tuple[int, bytes]] = [
            (Attribute.USERNAME, f"{self.ufrag}:{self.remote_ufrag}".encode()),
            (Attribute.PRIORITY, (1_000_000).to_bytes(4)),
        ]
        attributes += [(Attribute.USE_CANDIDATE, b"")] if nominate else []
        self.out.append(
            stun.write(
                Method.BINDING,
                MessageClass.REQUEST,
                b"transaction!",
                attributes,
                password or self.password,
            )
        )

    def say(self, payload: bytes = b"\xf8voice", *, skip: int = 0) -> bytes:
        """Put one 20 ms frame into `out`; `skip` packets before it are never sent."""
        self.sequence = (self.sequence + 1 + skip) & 0xFFFF
        self.timestamp = (self.timestamp + 960 * (1 + skip)) & 0xFFFF_FFFF
        packet = rtp.write(PAYLOAD_TYPE, False, self.sequence, self.timestamp, VOICE_SSRC, payload)
        assert self.srtp is not None
        self.out.append(self.srtp.protect_rtp(packet))
        return self.out[-1]

    def report(self, *packets: rtcp.RtcpPacket) -> None:
        assert self.srtp is not None
        self.out.append(self.srtp.protect_rtcp(rtcp.write(packets)))

    def receive(self, packet: bytes, now: float) -> None:
        kind = classify(packet)
        if kind is PacketKind.STUN:
            self._read_stun(packet)
        elif kind is PacketKind.DTLS:
            self.start_dtls(now).handle_datagram(packet, now)
            self.pump(now)
        elif self.srtp is not None and kind is PacketKind.RTP:
            opened = self.srtp.unprotect_rtp(packet)
            assert opened is not None
            self.heard.append(rtp.read(opened))
        elif self.srtp is not None and kind is PacketKind.RTCP:
            opened = self.srtp.unprotect_rtcp(packet)
            assert opened is not None
            self.rtcp += rtcp.read(opened)

    def _read_stun(self, packet: bytes) -> None:
        message = stun.read(packet)
        if message.message_class is not MessageClass.REQUEST:
            self.responses.append(message)
            return
        mine = stun.username(message) == (self.remote_ufrag, self.ufrag)
        if not mine or not stun.has_integrity(message, packet, self.remote_password):
            return
        self.checked += 1
        self.out.append(
            stun.write(
                Method.BINDING,
                MessageClass.SUCCESS,
                message.transaction_id,
                [(Attribute.XOR_MAPPED_ADDRESS, stun.xor_address(HOME, message.transaction_id))],
                self.remote_password,
            )
        )

    def start_dtls(self, now: float) -> DtlsAssociation:
        if self.dtls is None:
            fingerprints = [OUR_CERTIFICATE.fingerprint]
            self.dtls = DtlsAssociation(self.role, CALLER_CERTIFICATE, fingerprints, now)
            self.pump(now)
        return self.dtls

    def pump(self, now: float) -> None:
        assert self.dtls is not None
        while (event := self.dtls.poll_event()) is not None:
            self._on_dtls(event)
        while (packet := self.dtls.poll_transmit()) is not None:
            self.out.append(packet)

    @property
    def closed(self) -> bool:
        return any(isinstance(event, Closed) for event in self.events)

    async def hang_up(self) -> None:
        if self.channels is not None:
            self.channels.close()
            await asyncio.sleep(0)  # what the SCTP library has scheduled finds nothing to do
        if self.dtls is not None:
            self.dtls.close()
            self.pump(0.0)

    def _on_dtls(self, event: Event) -> None:
        if isinstance(event, ApplicationData):
            if self.channels is not None:
                self.channels.handle_data(event.data)
            return
        assert not isinstance(event, Failed), event
        self.events.append(event)
        if isinstance(event, Connected):
            self.srtp = SrtpSession(event.keys)
            if self.offer.data is not None:
                self._open_channels()

    def _open_channels(self) -> None:
        self.channels = DataChannels(
            self.role,
            remote_port=5000,
            remote_max_message_size=262144,
            send=self._send_sctp,
            on_message=lambda label, content: self.messages.append((label, content)),
            on_open=self.opened.append,
            on_close=lambda: None,
            on_fault=fault,
        )
        run(self.channels.start())
        self.channels.open("oai-events")

    def _send_sctp(self, packet: bytes) -> None:
        assert self.dtls is not None
        if self.dtls.send(packet):
            while (datagram := self.dtls.poll_transmit()) is not None:
                self.out.append(datagram)


@dataclass
class FakeHandle:
    """What a session says to its backend; `echo` returns sound and messages as they come."""

    sink: CallSink
    echo: bool
    audio: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    messages: list[tuple[str, str | bytes]] = field(default_factory=list)
    playouts: list[tuple[int, int, int, int]] = field(default_factory=list)
    networks: list[tuple[float | None, int, float]] = field(default_factory=list)
    credit: int = 0
    closed: str = ""
    refusal: Exception | None = None
    send_credit: int = 0
    restored: model_pb2.Restored | None = None
    position: Position = NOWHERE
    exact: bool = False
    moved: bool = False

    def send_audio(self, payload: bytes, rtp_time: int, duration: int, lost: int = 0) -> None:
        self.audio.append((payload, rtp_time, duration, lost))
        if self.echo:
            self.sink.on_audio(payload, duration)

    def send_text(self, label: str, text: str, *, from_server: bool = False) -> None:
        self.messages.append((label, text))
        if self.echo:
            self.sink.on_data(label, text)

    def send_binary(self, label: str, content: bytes) -> None:
        self.messages.append((label, content))
        if self.echo:
            self.sink.on_data(label, content)

    def send_playout(self, sent: int, acked: int, cleared: int, queued: int) -> None:
        self.playouts.append((sent, acked, cleared, queued))

    def send_network(self, round_trip_s: float | None, packets: int, waited_s: float) -> None:
        self.networks.append((round_trip_s, packets, waited_s))

    def give_credit(self, frames: int) -> None:
        self.credit += frames

    def close(self, reason: str) -> None:
        self.closed = reason

    def moving(self) -> None:
        self.moved = True

    def write_reports(self) -> None:
        """Nothing waits here."""

    def heard_by(self, sink: CallSink) -> None:
        self.sink = sink

    async def accepted(self, timeout_s: float | None = None) -> None:
        if self.refusal is not None:
            raise self.refusal


@dataclass
class FakeLink:
    """A model link whose backend is always there, unless `ready` says otherwise."""

    echo: bool = True
    ready: bool = True
    backend: str = "scripted"
    called: str = "default"
    accepts: tuple[int, ...] = (model_pb2.AUDIO_FORMAT_OPUS,)
    handles: list[FakeHandle] = field(default_factory=list)

    def open_call(
        self,
        call_id: str,
        session_json: str,
        sink: CallSink,
        send_credit: int,
        started_unix_ms: int,
        audio_format: int = model_pb2.AUDIO_FORMAT_OPUS,
        page_may_set: Sequence[str] | None = None,
        resume: Position | None = None,
        *,
        exact: bool = False,
        restored: model_pb2.Restored | None = None,
    ) -> CallHandle:
        if not self.ready:
            raise BackendAbsent("no backend")
        assert audio_format in self.accepts
        handle = FakeHandle(sink, self.echo, position=resume or NOWHERE, exact=exact)
        handle.restored, handle.send_credit = restored, send_credit
        self.handles.append(handle)
        return cast(CallHandle, self.handles[-1])

    def reaches(self, instance: str) -> bool:
        """One process is all of it."""
        return instance == self.backend

    def as_link(self) -> ModelLink:
        return cast(ModelLink, self)


def fault(error: Exception) -> None:
    """Nothing raises in a caller."""
    raise error


def kinds(packets: list[bytes]) -> Counter[PacketKind]:
    return Counter(classify(packet) for packet in packets)
