"""A synthetic caller without a socket: an SDP answer and packets in, packets out, keys at the end.

    offer ──▶ (HTTP) ──▶ answer ──▶ check ──▶ DTLS flights ──▶ connected: `voice`

One identity serves many callers, because making one costs as much as a call. It checks the other
side's fingerprint; a caller that skipped it would measure a handshake nobody may use.
"""

from __future__ import annotations

import secrets

from loadtest.callers.dtls import Identity, LightDtls
from loadtest.callers.sdp import RemoteSide, read_answer, write_offer
from loadtest.callers.voice import Voice
from loadtest.errors import CallFailedError
from wire import stun
from wire.address import pack_address
from wire.classify import PacketKind, classify
from wire.errors import WireError

WAITS_A_CHECK = 5  # of a tenth of a second each: libwebrtc checks an unstable pair that often
HOST_PRIORITY = 2130706431  # RFC 8445 section 5.1.2.1, for a host candidate, component 1


class Caller:
    """One call's client side. Give it the answer, then every packet; send what it returns."""

    def __init__(self, identity: Identity, *, data: bool = False) -> None:
        self._identity = identity
        self._data = data
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(16)
        self._ssrc = secrets.randbits(32)
        self._remote: RemoteSide | None = None
        self._dtls: LightDtls | None = None
        self._waits = 0
        self.check = b""
        """The connectivity check, prebuilt: sent again it also keeps consent (RFC 7675)."""
        self.voice: Voice | None = None
        """Set when the handshake is done."""

    @property
    def dtls(self) -> LightDtls | None:
        """The association, from the first answered check on."""
        return self._dtls

    @property
    def offer(self) -> str:
        """The SDP to post."""
        fingerprint = self._identity.fingerprint
        return write_offer(self._ufrag, self._password, fingerprint, self._ssrc, data=self._data)

    @property
    def remote(self) -> RemoteSide:
        """Who answered. Raises ValueError before `answered`."""
        if self._remote is None:
            raise ValueError("no answer yet")
        return self._remote

    def answered(self, sdp: str) -> list[bytes]:
        """Take the answer; the first packet to send. Raises CallFailedError `bad_answer`."""
        self._remote = remote = read_answer(sdp)
        attributes = (
            (stun.Attribute.USERNAME, f"{remote.ufrag}:{self._ufrag}".encode()),
            (stun.Attribute.PRIORITY, HOST_PRIORITY.to_bytes(4)),
            (stun.Attribute.ICE_CONTROLLING, secrets.token_bytes(8)),
            (stun.Attribute.USE_CANDIDATE, b""),
        )
        self.check = stun.write(
            stun.Method.BINDING,
            stun.MessageClass.REQUEST,
            secrets.token_bytes(12),
            attributes,
            remote.password,
        )
        return [self.check]

    def receive(self, packet: bytes) -> list[bytes]:
        """Take a packet; what to send now. Raises CallFailedError `dtls` or `fingerprint`."""
        kind = classify(packet)
        if kind is PacketKind.STUN:
            return self._read_stun(packet)
        if kind is PacketKind.DTLS and self._dtls is not None:
            return self._step(self._dtls, self._dtls.receive(packet))
        return []

    def again(self) -> list[bytes]:
        """What to send when nothing came for a while.

        Checks go on beside the handshake, as those of browsers do: an address that has not answered
        is sent no more than three times what comes from there, so a hello may wait for the next.
        """
        if self._dtls is None:
            return [self.check]
        self._waits += 1
        check = [self.check] if self._waits % WAITS_A_CHECK == 0 else []
        return [*check, *self._dtls.timed_out()]

    def _read_stun(self, packet: bytes) -> list[bytes]:
        try:
            message = stun.read(packet)
        except WireError:
            return []
        if message.message_class is stun.MessageClass.REQUEST:
            return [self._consent(message)]
        if message.message_class is stun.MessageClass.SUCCESS and self._dtls is None:
            self._dtls = LightDtls(self._identity, is_client=self.remote.setup == "passive")
            return self._dtls.start()
        return []

    def _consent(self, request: stun.Message) -> bytes:
        """Answer a check: a full ICE agent on the other side sends them for the whole call."""
        address = pack_address(self.remote.host, self.remote.port)
        mapped = stun.xor_address(address, request.transaction_id)
        return stun.write(
            stun.Method.BINDING,
            stun.MessageClass.SUCCESS,
            request.transaction_id,
            ((stun.Attribute.XOR_MAPPED_ADDRESS, mapped),),
            self._password,
        )

    def _step(self, dtls: LightDtls, flight: list[bytes]) -> list[bytes]:
        if dtls.connected and self.voice is None:
            if dtls.peer_fingerprint() != self.remote.fingerprint:
                raise CallFailedError("fingerprint")
            outgoing, incoming = dtls.srtp_sessions()
            self.voice = Voice(outgoing, incoming, self._ssrc)
        return flight
