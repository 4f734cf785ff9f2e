"""A call with the least a client can do: one UDP socket, one check, DTLS, a few packets."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import aiohttp
from pylibsrtp import Error as SrtpError
from pylibsrtp import Session

from loadtest.callers.light_dtls import Identity, LightDtls
from loadtest.callers.light_sdp import OPUS_PAYLOAD_TYPE, RemoteSide, read_answer, write_offer
from loadtest.errors import CallFailedError
from loadtest.signaling import hang_up, post_offer
from loadtest.sound import FRAME_SAMPLES
from loadtest.target import Target
from wire import rtp, stun
from wire.address import pack_address
from wire.classify import PacketKind, classify
from wire.errors import WireError

RETRANSMIT_S = 0.1
QUEUED_DATAGRAMS = 256
HOST_PRIORITY = 2130706431  # RFC 8445 section 5.1.2.1, for a host candidate, component 1


class LightSocket(asyncio.DatagramProtocol):
    """A connected UDP socket with a bounded queue for each kind of packet; a full one drops."""

    def __init__(self) -> None:
        self._queues = {kind: asyncio.Queue[bytes](QUEUED_DATAGRAMS) for kind in PacketKind}
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Open a socket to one peer."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(cls, remote_addr=(host, port))
        return protocol

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Sort the packet by its first byte (RFC 7983)."""
        queue = self._queues[classify(data)]
        if not queue.full():
            queue.put_nowait(data)

    def send(self, *datagrams: bytes) -> None:
        """Send datagrams to the peer."""
        for datagram in datagrams:
            if self._transport is not None:
                self._transport.sendto(datagram)

    async def receive(self, kind: PacketKind) -> bytes | None:
        """Return the next packet of a kind; None when none comes for a retransmission time."""
        try:
            return await asyncio.wait_for(self._queues[kind].get(), RETRANSMIT_S)
        except TimeoutError:
            return None

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


class LightCaller:
    """Places one call; `setup_ms` is set when the first media packet came back.

    `packets` are Opus payloads, sent at once; the call is good when `echoes` packets came back.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        target: Target,
        identity: Identity,
        packets: Sequence[bytes],
        echoes: int,
    ) -> None:
        self._session = session
        self._target = target
        self._identity = identity
        self._packets = packets
        self._echoes = echoes
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(16)
        self._ssrc = secrets.randbits(32)
        self._step = "answer"
        self.setup_ms: float | None = None

    async def place(self, timeout_s: float) -> None:
        """Call, hear the packets echoed, hang up. Raises CallFailedError."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._call()
        except TimeoutError:
            raise CallFailedError(f"timeout_{self._step}") from None

    async def _call(self) -> None:
        offer = write_offer(self._ufrag, self._password, self._identity.fingerprint, self._ssrc)
        posted_at = time.monotonic()
        answer = await post_offer(self._session, self._target, offer)
        try:
            await self._converse(read_answer(answer.sdp), posted_at)
        except BaseException:
            with suppress(CallFailedError):  # what failed first is the reason to report
                await hang_up(self._session, self._target, answer)
            raise
        await hang_up(self._session, self._target, answer)

    async def _converse(self, remote: RemoteSide, posted_at: float) -> None:
        socket = await LightSocket.open(remote.host, remote.port)
        try:
            await self._talk(socket, remote, posted_at)
        finally:
            socket.close()

    async def _talk(self, socket: LightSocket, remote: RemoteSide, posted_at: float) -> None:
        self._step = "check"
        await self._check(socket, remote)
        answering = asyncio.create_task(self._answer_checks(socket, remote))
        try:
            self._step = "dtls"
            dtls = await self._handshake(socket, remote)
            self._step = "media"
            outgoing, incoming = dtls.srtp_sessions()
            socket.send(*(outgoing.protect(packet) for packet in self._rtp_packets()))
            await _next_media(socket, incoming)
            self.setup_ms = 1000 * (time.monotonic() - posted_at)
            for _ in range(self._echoes - 1):
                await _next_media(socket, incoming)
        finally:
            answering.cancel()
            await asyncio.wait({answering})

    async def _check(self, socket: LightSocket, remote: RemoteSide) -> None:
        """Send the one connectivity check, which also nominates (RFC 8445 section 7.2.2)."""
        transaction_id = secrets.token_bytes(12)
        request = self._binding_request(remote, transaction_id)
        socket.send(request)
        while True:
            packet = await socket.receive(PacketKind.STUN)
            if packet is None:
                socket.send(request)
            elif _is_success(packet, transaction_id, remote.password):
                return
            else:
                self._answer_check(socket, remote, packet)

    def _binding_request(self, remote: RemoteSide, transaction_id: bytes) -> bytes:
        attributes = (
            (stun.Attribute.USERNAME, f"{remote.ufrag}:{self._ufrag}".encode()),
            (stun.Attribute.PRIORITY, HOST_PRIORITY.to_bytes(4)),
            (stun.Attribute.ICE_CONTROLLING, secrets.token_bytes(8)),
            (stun.Attribute.USE_CANDIDATE, b""),
        )
        return stun.write(
            stun.Method.BINDING,
            stun.MessageClass.REQUEST,
            transaction_id,
            attributes,
            remote.password,
        )

    async def _answer_checks(self, socket: LightSocket, remote: RemoteSide) -> None:
        """Answer checks for the rest of the call: a full agent on the other side needs it."""
        while True:
            packet = await socket.receive(PacketKind.STUN)
            if packet is not None:
                self._answer_check(socket, remote, packet)

    def _answer_check(self, socket: LightSocket, remote: RemoteSide, packet: bytes) -> None:
        try:
            request = stun.read(packet)
        except WireError:
            return
        if request.message_class is not stun.MessageClass.REQUEST:
            return
        mapped = stun.xor_address(pack_address(remote.host, remote.port), request.transaction_id)
        socket.send(
            stun.write(
                stun.Method.BINDING,
                stun.MessageClass.SUCCESS,
                request.transaction_id,
                ((stun.Attribute.XOR_MAPPED_ADDRESS, mapped),),
                self._password,
            )
        )

    async def _handshake(self, socket: LightSocket, remote: RemoteSide) -> LightDtls:
        dtls = LightDtls(self._identity, is_client=remote.setup == "passive")
        socket.send(*dtls.start())
        while not dtls.connected:
            datagram = await socket.receive(PacketKind.DTLS)
            socket.send(*(dtls.timed_out() if datagram is None else dtls.receive(datagram)))
        if dtls.peer_fingerprint() != remote.fingerprint:
            raise CallFailedError("fingerprint")
        return dtls

    def _rtp_packets(self) -> list[bytes]:
        start = secrets.randbits(15)
        return [
            rtp.write(
                OPUS_PAYLOAD_TYPE,
                index == 0,
                start + index,
                index * FRAME_SAMPLES,
                self._ssrc,
                payload,
            )
            for index, payload in enumerate(self._packets)
        ]


def _is_success(packet: bytes, transaction_id: bytes, password: str) -> bool:
    try:
        message = stun.read(packet)
    except WireError:
        return False
    return (
        message.message_class is stun.MessageClass.SUCCESS
        and message.transaction_id == transaction_id
        and stun.has_integrity(message, packet, password)
    )


async def _next_media(socket: LightSocket, incoming: Session) -> None:
    """Return when a media packet came that is authentic and new."""
    while True:
        packet = await socket.receive(PacketKind.RTP)
        if packet is None:
            continue
        try:
            rtp.read(incoming.unprotect(packet))
        except (SrtpError, WireError):
            continue
        return
