"""What carries one call: ICE, DTLS over it, and what may be sent where.

    caller ── STUN ──▶ IceLite ── the selected path ──┐
           ── DTLS ──▶ DtlsAssociation ───────────────┴─▶ events: keys, data, the end
           ◀───── what the path takes ── send, send_data ◀── sound, reports, SCTP

Whoever owns it does what the events say; it calls the host only to send and to count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from transceiver.call.host import Host
from transceiver.call.offer import Offer
from transceiver.counters import Counted
from transceiver.takeover.resumed_dtls import ResumedDtls, dtls_part, dtls_state
from transceiver.takeover.session_state import DtlsPart, Reserve, SessionState
from transceiver.transport import certificate
from transceiver.transport.certificate import LocalCertificate
from transceiver.transport.dtls import DtlsAssociation, Event, Role
from transceiver.transport.ice import Credentials, GenerationEnded, IceEvent, IceLite
from transceiver.transport.path import UNBOUNDED_BYTES
from wire import stun


class CallTransport:
    """One call's way to its caller. Addresses are the 18 bytes of `wire.address`."""

    def __init__(self, offer: Offer, local: LocalCertificate, host: Host) -> None:
        self.local_ufrag, self.local_password = host.mint()  # of the newest generation
        self.muted = False  # another process may be about to go on with the call
        self._offer = offer
        self._certificate = local
        self._host = host
        self.ice = IceLite(self._credentials(offer.ufrag, offer.password))
        self._dtls: DtlsAssociation | ResumedDtls | None = None

    @classmethod
    def resumed(
        cls,
        state: SessionState,
        local: LocalCertificate,
        host: Host,
        exported_s: float,
        reserve: Reserve,
    ) -> CallTransport:
        """That of a call which another process exported at `exported_s`.

        Raises ValueError when its DTLS cannot be resumed here.
        """
        association = ResumedDtls(dtls_state(state, reserve))
        transport = cls(state.offer, local, host)
        newest = state.ice.pending or state.ice.current
        transport.local_ufrag, transport.local_password = newest.local_ufrag, newest.local_password
        transport.ice = IceLite.resumed(state.ice, exported_s)
        transport._dtls = association
        return transport

    @property
    def secured(self) -> bool:
        """Whether the DTLS handshake is over."""
        return self._dtls is not None and self._dtls.connected

    def export_dtls(self) -> DtlsPart:
        """The association as a value. Raises RuntimeError when it is not connected."""
        if self._dtls is None:
            raise RuntimeError("a call can be exported while it is connected")
        return dtls_part(self._dtls.export_state())

    def restart(self, remote_ufrag: str, remote_password: str) -> GenerationEnded | None:
        """New credentials beside the old ones; what they replace."""
        self.local_ufrag, self.local_password = self._host.mint()
        return self.ice.restart(self._credentials(remote_ufrag, remote_password))

    def handle_stun(
        self, message: stun.Message, packet: bytes, address: bytes, now: float
    ) -> tuple[tuple[IceEvent, ...], bool]:
        """Answer a STUN message, read from `packet`; events, and whether it is a valid check."""
        response, events, reason = self.ice.handle(message, packet, address, now)
        if reason:
            self._host.count(reason)
        if response is not None:
            self._host.transmit(address, response)
        if self._dtls is not None:
            self._send_waiting(self._dtls)  # for more to come from there
        return events, bool(events) or (response is not None and not reason)

    def checked(self, now: float) -> Iterator[Event]:
        """A check has counted: the first begins the handshake, later ones are checked back."""
        if self._dtls is None:
            self._dtls = DtlsAssociation(
                Role(self._offer.dtls_role), self._certificate, _fingerprints(self._offer), now
            )
        else:
            self._check_back()
        return self._events(self._dtls)

    def handle_dtls(self, packet: bytes, now: float) -> Iterator[Event]:
        """Take a datagram; what happens by it, each before the next is worked on."""
        # An address that ICE knows means a check, and the first check made the association.
        if self._dtls is None:
            self._host.count(Counted.DTLS_BEFORE_CHECK)
            return iter(())
        self._dtls.handle_datagram(packet, now)
        return self._events(self._dtls)

    def handle_timeout(self, now: float) -> Iterator[Event]:
        """Repeat what is due in a handshake; what happens by it."""
        if self._dtls is None or self._dtls.connected:
            return iter(())
        self._dtls.handle_timeout(now)
        return self._events(self._dtls)

    def handshake_due_s(self) -> float | None:
        """When `handle_timeout` has something to do."""
        return None if self._dtls is None else self._dtls.poll_timeout()

    def handshake_done(self) -> None:
        """The handshake is over; if that did not show who hears us, ask."""
        self.ice.handshake_done()
        self._check_back()

    def send(self, packet: bytes) -> None:
        """Send a packet to the selected address, if it may have that much."""
        path = self.ice.path
        if self.muted:
            return
        if path is None:
            self._host.count(Counted.NO_SELECTED_ADDRESS)
        elif path.answered or path.takes(len(packet)):
            self._host.transmit(path.address, packet)
        else:
            self._host.count(Counted.OUT_UNANSWERED)

    def send_data(self, packet: bytes) -> None:
        """Send an SCTP packet; it waits while its address may not have that much."""
        if self._dtls is not None and not self.muted and self._dtls.send(packet):
            self._send_waiting(self._dtls)

    def leave(self) -> None:
        """Stop without a close_notify: another process goes on."""
        self._dtls = None

    def close(self) -> None:
        """End the association."""
        if self._dtls is not None:
            self._dtls.close()
            self._send_waiting(self._dtls)

    def dropped(self) -> Counter[str]:
        """What a peer did wrong in DTLS since the last time, by reason."""
        return self._dtls.dropped if self._dtls is not None else Counter()

    def _events(self, association: DtlsAssociation | ResumedDtls) -> Iterator[Event]:
        while (event := association.poll_event()) is not None:
            self._send_waiting(association)  # a flight leaves before what its end sets off
            yield event
        self._send_waiting(association)

    def _send_waiting(self, association: DtlsAssociation | ResumedDtls) -> None:
        path = self.ice.path
        while True:
            most_bytes = UNBOUNDED_BYTES if path is None else path.room_bytes
            packet = association.poll_transmit(most_bytes)
            if packet is None:
                return
            if not association.connected:
                self.ice.flight_sent()
            self.send(packet)

    def _check_back(self) -> None:
        """Ask an address that has not answered whether somebody hears us there.

        A handshake asks by itself.
        """
        check = self.ice.check() if self.secured else None
        if check is not None:
            self.send(check)

    def _credentials(self, remote_ufrag: str, remote_password: str) -> Credentials:
        return Credentials(self.local_ufrag, self.local_password, remote_ufrag, remote_password)


def _fingerprints(offer: Offer) -> list[certificate.Fingerprint]:
    return [
        certificate.Fingerprint(found.algorithm, found.value.upper())
        for found in offer.fingerprints
    ]
