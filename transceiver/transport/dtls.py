"""One DTLS 1.2 association with a caller: handshake, SRTP keys, data-channel bytes, close.

Sans-IO: `handle_datagram` and `handle_timeout` take what happened and the time; `poll_transmit`,
`poll_event` and `poll_timeout` say what to do about it. OpenSSL does the protocol over memory
BIOs; three things it leaves to us are done here.

* Its output is one stream of records: they are packed into datagrams again.
* It retransmits after one second by its own clock. RFC 9147 §5.8.2 recommends 400 ms for
  DTLS-SRTP, so the last flight is repeated on `now` until an answer comes. OpenSSL's own timer
  still runs behind it: only it can repeat a Finished that the peer has seen already.
* RFC 6347 §4.2.4 asks that a peer's repeated flight be answered with ours at once. OpenSSL
  ignores it; here it is seen by its message sequence number.

A repeated plaintext record gets a fresh sequence number, or the peer's replay check would drop it;
so every plaintext record is numbered here. Protected ones are repeated byte for byte.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from OpenSSL import SSL

from transceiver.counters import Counted
from transceiver.transport import dtls_records as records
from transceiver.transport.certificate import Fingerprint, LocalCertificate, PeerIdentity
from transceiver.transport.path import UNBOUNDED_BYTES
from transceiver.transport.srtp import PROFILES, SrtpKeys, SrtpProfile

HANDSHAKE_LIMIT_S = 30.0  # an honest one takes 2 round trips; Chrome gives up at about 30 s too
RETRANSMIT_S = 0.4  # RFC 9147 §5.8.2, for DTLS-SRTP; doubled each time
RETRANSMIT_MAX_S = 1.6
REPEAT_AT_ONCE_AFTER_S = 0.05  # a duplicate made by the network follows sooner than that
MAX_REPEATS = 24  # of our flights, over the whole association
MAX_HANDSHAKE_DATAGRAMS = 256  # received; an honest handshake has about 4, and their repetitions
MAX_DATAGRAM_BYTES = 2048  # received
MAX_PLAINTEXT_BYTES = 1200  # one SCTP packet; with DTLS, UDP and IPv6 around it still below 1,300
MAX_QUEUED = 256  # datagrams to send, and events, that nobody has fetched

_EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"  # RFC 5764 §4.2


# Why an association died: fixed words, of each of which there is a counter.
FailureReason = Literal[
    "timeout",
    "too_many_datagrams",
    "write",
    "fingerprint_mismatch",
    "no_srtp_profile",
    "no_shared_cipher",
    "version",
    "no_certificate",
    "peer_alert",
    "protocol",
]


class Role(Enum):
    """Who sends the ClientHello: `a=setup:active` is the client (RFC 5763 §5)."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True)
class Connected:
    """The handshake is done and the peer is who the SDP said."""

    keys: SrtpKeys


@dataclass(frozen=True)
class ApplicationData:
    """One record's plaintext: an SCTP packet."""

    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Closed:
    """The peer ended the association with close_notify; nothing follows."""


@dataclass(frozen=True)
class Failed:
    """The association is dead."""

    reason: FailureReason


Event = Connected | ApplicationData | Closed | Failed


@dataclass(frozen=True)
class DtlsState:
    """What another process needs to go on with the association (RFC 5246 §6.3, RFC 5288).

    `next_write_sequence` and `last_read_sequence` count records of epoch 1.
    """

    role: Role
    cipher: str
    master_secret: bytes = field(repr=False)
    client_random: bytes = field(repr=False)
    server_random: bytes = field(repr=False)
    srtp_keys: SrtpKeys
    next_write_sequence: int
    last_read_sequence: int


class _Phase(Enum):
    HANDSHAKE = 1
    CONNECTED = 2
    ENDED = 3


@dataclass
class _Flight:
    """The handshake records we sent last, and when to send them again."""

    records: list[bytes] = field(default_factory=list)
    answered: int = -1  # the highest peer message_seq that these records answer
    sent_at: float = 0.0
    interval_s: float = RETRANSMIT_S

    @property
    def due_at(self) -> float:
        return self.sent_at + self.interval_s


class DtlsAssociation:
    """A DTLS association in one role. `now` is any monotonic clock, in seconds.

    A client's ClientHello waits in `poll_transmit` at once, so make it when a path exists.
    Whatever the peer sends, nothing raises: it is counted in `dropped`, or ends in Failed.
    Raises ValueError when no remote fingerprint has an accepted hash.
    """

    def __init__(
        self,
        role: Role,
        certificate: LocalCertificate,
        remote_fingerprints: Sequence[Fingerprint],
        now: float,
        *,
        retransmit_s: float = RETRANSMIT_S,
    ) -> None:
        self.role = role
        self.dropped: Counter[str] = Counter()
        self._identity = PeerIdentity(remote_fingerprints)
        self._ssl: SSL.Connection | None = _connection(role, certificate, self._identity)
        self._phase = _Phase.HANDSHAKE
        self._now = now
        self._deadline = now + HANDSHAKE_LIMIT_S
        self._openssl_due_at: float | None = None
        self._flight = _Flight(interval_s=retransmit_s)
        self._repeats_left = MAX_REPEATS
        self._datagrams_left = MAX_HANDSHAKE_DATAGRAMS
        self._highest_message = -1
        self._plaintext_sequence = 0
        self._next_write_sequence = 0
        self._last_read_sequence = 0  # the Finished
        self._records_read = 0
        self._keys: SrtpKeys | None = None
        self._transmit: deque[bytes] = deque()
        self._events: deque[Event] = deque()
        if role is Role.CLIENT:
            self._advance()

    @property
    def connected(self) -> bool:
        """Whether application data can be sent."""
        return self._phase is _Phase.CONNECTED

    def handle_datagram(self, datagram: bytes, now: float) -> None:
        """Take one datagram that RFC 7983 says is DTLS."""
        self._now = now
        if self._ssl is None:
            self.dropped[Counted.DTLS_ENDED] += 1
            return
        received = self._screen(datagram)
        if received is None:
            return
        self._note(received)
        # One datagram at a time: OpenSSL drops what is left of a read it cannot use.
        self._ssl.bio_write(datagram)
        repeats = self._repeats_what_we_answered(received)
        was_connected, read_before = self.connected, self._records_read
        answered_anew = self._advance()
        if repeats and not answered_anew:
            self._repeat_flight()
        if was_connected:
            self._note_read(received, self._records_read - read_before)

    def poll_transmit(self, most_bytes: int = UNBOUNDED_BYTES) -> bytes | None:
        """The next datagram to send; None when there is none, or when it is longer than that."""
        waiting = self._transmit
        return waiting.popleft() if waiting and len(waiting[0]) <= most_bytes else None

    def poll_event(self) -> Event | None:
        """The next thing that happened, or None."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """When to call `handle_timeout`, on the clock of `now`; None when there is nothing."""
        if self._phase is not _Phase.HANDSHAKE:
            return None
        due_at = self._deadline
        if self._openssl_due_at is not None:
            due_at = min(due_at, self._openssl_due_at)
        if self._may_repeat:
            due_at = min(due_at, self._flight.due_at)
        return due_at

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`; calling too early does nothing."""
        self._now = now
        if self._phase is not _Phase.HANDSHAKE:
            return
        if now >= self._deadline:
            self._fail("timeout")
            return
        if self._openssl_due_at is not None and now >= self._openssl_due_at:
            self._advance(timer=True)
        if self._may_repeat and now >= self._flight.due_at:
            self._flight.interval_s = min(2 * self._flight.interval_s, RETRANSMIT_MAX_S)
            self._repeat_flight()

    def send(self, data: bytes) -> bool:
        """Send one record of application data; False, and counted, when that cannot be.

        Raises ValueError above MAX_PLAINTEXT_BYTES: it would not fit one datagram.
        """
        if len(data) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"{len(data)} bytes do not fit one DTLS datagram")
        if not data or self._ssl is None or not self.connected:
            self.dropped[Counted.DTLS_SEND_NOT_CONNECTED] += 1
            return False
        if len(self._transmit) >= MAX_QUEUED:
            self.dropped[Counted.DTLS_TRANSMIT_FULL] += 1
            return False
        try:
            self._ssl.send(data)
        except SSL.Error:
            self._fail("write")
            return False
        self._flush()
        return True

    def close(self) -> None:
        """End the association: close_notify, or nothing when there was no handshake yet."""
        if self._ssl is not None:
            self._shut_down()

    def export_state(self) -> DtlsState:
        """Everything a takeover needs. Raises RuntimeError when not connected.

        Stop sending first: the write sequence is only true for the moment.
        """
        if self._ssl is None or self._keys is None:
            raise RuntimeError("a DTLS association can be exported while it is connected")
        return DtlsState(
            role=self.role,
            cipher=self._ssl.get_cipher_name() or "",
            master_secret=self._ssl.master_key() or b"",
            client_random=self._ssl.client_random() or b"",
            server_random=self._ssl.server_random() or b"",
            srtp_keys=self._keys,
            next_write_sequence=self._next_write_sequence,
            last_read_sequence=self._last_read_sequence,
        )

    # Receiving

    def _screen(self, datagram: bytes) -> list[bytes] | None:
        """The datagram's records, or None and a counted reason."""
        if not datagram or len(datagram) > MAX_DATAGRAM_BYTES:
            self.dropped[Counted.DTLS_SIZE] += 1
            return None
        received = records.split_records(datagram)
        if received is None:
            self.dropped[Counted.DTLS_MALFORMED] += 1
            return None
        if self._phase is _Phase.HANDSHAKE:
            self._datagrams_left -= 1
            if self._datagrams_left < 0:
                self._fail("too_many_datagrams")
                return None
        return received

    def _note(self, received: Iterable[bytes]) -> None:
        for record in received:
            if (message := records.message_sequence(record)) is not None:
                self._highest_message = max(self._highest_message, message)

    def _repeats_what_we_answered(self, received: Iterable[bytes]) -> bool:
        messages = (records.message_sequence(record) for record in received)
        first = next((message for message in messages if message is not None), None)
        if first is None or first > self._flight.answered:
            return False
        self.dropped[Counted.DTLS_REPEATED] += 1
        # A connected client has the server's last word: nobody waits for it any more.
        return self.role is Role.SERVER or self._phase is _Phase.HANDSHAKE

    def _note_read(self, received: Iterable[bytes], read: int) -> None:
        """Note the sequence numbers that OpenSSL found authentic and new, and count the others."""
        numbers = [records.sequence(r) for r in received if r[0] == records.APPLICATION_DATA]
        if len(numbers) != read:
            self.dropped[Counted.DTLS_REJECTED] += 1
        elif numbers:
            self._last_read_sequence = max(self._last_read_sequence, *numbers)

    # Driving OpenSSL

    def _advance(self, *, timer: bool = False) -> bool:
        """Let OpenSSL work on what it has; True when it sent handshake messages."""
        ssl = self._ssl
        if ssl is None:
            return False
        try:
            if timer:
                ssl.DTLSv1_handle_timeout()
            if self._phase is _Phase.HANDSHAKE:
                self._shake_hands(ssl)
            if self._phase is _Phase.CONNECTED:
                self._read(ssl)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._shut_down(Closed())
        except SSL.Error as error:
            self._fail(self._reason(error))
        return self._flush()

    def _shake_hands(self, ssl: SSL.Connection) -> None:
        ssl.do_handshake()
        profile = _selected_profile(ssl)
        if not self._identity.matched:  # the verify callback has refused already; be sure
            self._fail("fingerprint_mismatch")
        elif profile is None:
            self._fail("no_srtp_profile")
        else:
            self._keys = _srtp_keys(ssl, self.role, profile)
            self._phase = _Phase.CONNECTED
            self._emit(Connected(self._keys))

    def _read(self, ssl: SSL.Connection) -> None:
        """Take every record OpenSSL has; leaves by WantReadError."""
        while True:
            data = ssl.recv(MAX_DATAGRAM_BYTES)
            self._records_read += 1
            self._emit(ApplicationData(data))

    def _emit(self, event: Event) -> None:
        if len(self._events) >= MAX_QUEUED and isinstance(event, ApplicationData):
            self.dropped[Counted.DTLS_EVENTS_FULL] += 1
            return
        self._events.append(event)

    def _reason(self, error: SSL.Error) -> FailureReason:
        if self._identity.matched is False:
            return "fingerprint_mismatch"
        text = str(error)
        return next((word for part, word in _ERRORS.items() if part in text), "protocol")

    def _fail(self, reason: FailureReason) -> None:
        self._shut_down(Failed(reason))

    def _shut_down(self, event: Event | None = None) -> None:
        """Say goodbye if OpenSSL can, let it go, and tell `event`."""
        if self._ssl is None:
            return
        self._flush()  # an alert that explains a failure goes before a goodbye
        _close_notify(self._ssl)
        self._flush()
        self._phase = _Phase.ENDED
        self._ssl = None
        self._keys = None
        self._flight.records.clear()
        if event is not None:
            self._emit(event)

    # Sending

    def _flush(self) -> bool:
        """Move OpenSSL's output into datagrams; True when it was a flight of the handshake."""
        if self._ssl is None:
            return False
        sent = records.split_records(_drain(self._ssl)) or []
        flight = [record for record in sent if record[0] in _FLIGHT_TYPES]
        if flight:
            self._transmit.clear()  # of a flight before this one, which nobody needs any more
            self._flight.records = flight
            self._flight.answered = self._highest_message
            self._flight.sent_at = self._now
        self._queue(sent)
        timeout_s = self._ssl.DTLSv1_get_timeout()
        self._openssl_due_at = None if timeout_s is None else self._now + max(timeout_s, 0.01)
        return bool(flight)

    @property
    def _may_repeat(self) -> bool:
        return bool(self._flight.records) and self._repeats_left > 0

    def _repeat_flight(self) -> None:
        too_soon = self._now < self._flight.sent_at + REPEAT_AT_ONCE_AFTER_S
        if too_soon or self._transmit or not self._may_repeat:  # what waits is not repeated
            return
        self._repeats_left -= 1
        self._flight.sent_at = self._now
        self._queue(self._flight.records)

    def _queue(self, sent: Iterable[bytes]) -> None:
        for datagram in records.pack(self._numbered(record) for record in sent):
            if len(self._transmit) >= MAX_QUEUED:
                self.dropped[Counted.DTLS_TRANSMIT_FULL] += 1
                return
            self._transmit.append(datagram)

    def _numbered(self, record: bytes) -> bytes:
        if records.epoch(record):
            following = records.sequence(record) + 1
            self._next_write_sequence = max(self._next_write_sequence, following)
            return record
        number = self._plaintext_sequence
        self._plaintext_sequence += 1
        return records.with_sequence(record, number)


_FLIGHT_TYPES = (records.HANDSHAKE, records.CHANGE_CIPHER_SPEC)

# Parts of OpenSSL's texts → our reasons. What matters to an operator; the rest is "protocol".
_ERRORS: dict[str, FailureReason] = {
    "no shared cipher": "no_shared_cipher",
    "unsupported protocol": "version",
    "peer did not return a certificate": "no_certificate",
    "alert": "peer_alert",
}


def _connection(
    role: Role, certificate: LocalCertificate, identity: PeerIdentity
) -> SSL.Connection:
    connection = SSL.Connection(certificate.context)
    connection.set_app_data(identity)  # for the verify callback of the shared context
    connection.set_ciphertext_mtu(records.MAX_DATAGRAM_BYTES)
    if role is Role.SERVER:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    return connection


def _selected_profile(ssl: SSL.Connection) -> SrtpProfile | None:
    name = ssl.get_selected_srtp_profile().decode("ascii")
    return next((profile for profile in PROFILES if profile.dtls_name == name), None)


def _srtp_keys(ssl: SSL.Connection, role: Role, profile: SrtpProfile) -> SrtpKeys:
    material = ssl.export_keying_material(_EXPORTER_LABEL, profile.export_length)
    client, server = profile.split(material)
    if role is Role.CLIENT:
        return SrtpKeys(profile, local=client, remote=server)
    return SrtpKeys(profile, local=server, remote=client)


def _drain(ssl: SSL.Connection) -> bytes:
    """All that OpenSSL wants sent: records end to end, whatever its writes were."""
    output = []
    try:
        while True:
            output.append(ssl.bio_read(16384))
    except SSL.WantReadError:
        return b"".join(output)


def _close_notify(ssl: SSL.Connection) -> None:
    try:
        ssl.shutdown()
    except SSL.Error:  # no handshake yet, or a fatal alert was its last word
        return
