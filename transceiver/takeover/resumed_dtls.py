"""Goes on with a DTLS 1.2 association of another process, without OpenSSL.

After the handshake an association is a pair of AES-GCM keys, which follow from the master secret
and both randoms (RFC 5246 §6.3), and two counters. So application data, the peer's close_notify and
ours are all that is spoken here, by the same verbs as `transceiver.transport.dtls.DtlsAssociation`:

    record = type ‖ version ‖ epoch 1 ‖ sequence ‖ length ‖ explicit nonce ‖ ciphertext ‖ tag
    nonce  = salt of the sender (4) ‖ explicit nonce; ours is epoch ‖ sequence (RFC 5288 §3)

There is no new handshake: a peer's repeated Finished is counted, and renegotiation is not offered.
"""

from __future__ import annotations

import hmac
from collections import Counter, deque

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transceiver.counters import Counted
from transceiver.takeover.session_state import DtlsPart, Reserve, SessionState
from transceiver.transport import dtls_records as records
from transceiver.transport.dtls import (
    MAX_DATAGRAM_BYTES,
    MAX_PLAINTEXT_BYTES,
    MAX_QUEUED,
    ApplicationData,
    Closed,
    DtlsState,
    Event,
    Failed,
    Role,
)
from transceiver.transport.path import UNBOUNDED_BYTES
from transceiver.transport.srtp import SrtpKeys, profile_named

REPLAY_WINDOW = 64  # records, RFC 6347 §4.1.2.6
MAX_SEQUENCE = (1 << 48) - 1

_EXPLICIT_BYTES, _SALT_BYTES, _TAG_BYTES = 8, 4, 16
_OVERHEAD_BYTES = _EXPLICIT_BYTES + _TAG_BYTES
_EPOCH = 1
_VERSION = b"\xfe\xfd"
_WARNING, _CLOSE_NOTIFY = 1, 0


def dtls_part(state: DtlsState) -> DtlsPart:
    """The association as part of a call's state."""
    return DtlsPart(
        role=state.role.value,
        cipher=state.cipher,
        master_secret=state.master_secret,
        client_random=state.client_random,
        server_random=state.server_random,
        next_write_sequence=state.next_write_sequence,
        last_read_sequence=state.last_read_sequence,
    )


def dtls_state(state: SessionState, reserve: Reserve) -> DtlsState:
    """What to resume from; our records go on `reserve` further. Raises ValueError."""
    part, srtp = state.dtls, state.audio.srtp
    return DtlsState(
        role=Role(part.role),
        cipher=part.cipher,
        master_secret=part.master_secret,
        client_random=part.client_random,
        server_random=part.server_random,
        srtp_keys=SrtpKeys(profile_named(srtp.profile), srtp.local, srtp.remote),
        next_write_sequence=part.next_write_sequence + reserve.dtls_records,
        last_read_sequence=part.last_read_sequence,
    )


class ResumedDtls:
    """The association of `state`, connected from the start.

    Records numbered up to `state.last_read_sequence` count as seen. Whatever the peer sends,
    nothing raises: it is counted in `dropped`, or ends in Closed or Failed. Raises ValueError for a
    cipher that is not AES-GCM.
    """

    def __init__(self, state: DtlsState) -> None:
        self.role = state.role
        self.dropped: Counter[str] = Counter()
        self._state = state
        self._write, self._write_salt, self._read, self._read_salt = _keys(state)
        self._next_write_sequence = state.next_write_sequence
        self._last_read_sequence = state.last_read_sequence
        self._seen = (1 << REPLAY_WINDOW) - 1  # bit n: last_read_sequence - n
        self._over = False
        self._transmit: deque[bytes] = deque()
        self._events: deque[Event] = deque()

    @property
    def connected(self) -> bool:
        """Whether application data can be sent."""
        return not self._over

    def handle_datagram(self, datagram: bytes, now: float) -> None:
        """Take one datagram that RFC 7983 says is DTLS."""
        del now  # nothing here is repeated, so nothing is timed
        if self._over:
            self.dropped[Counted.DTLS_ENDED] += 1
            return
        if not datagram or len(datagram) > MAX_DATAGRAM_BYTES:
            self.dropped[Counted.DTLS_SIZE] += 1
            return
        received = records.split_records(datagram)
        if received is None:
            self.dropped[Counted.DTLS_MALFORMED] += 1
            return
        for record in received:
            self._take(record)

    def poll_transmit(self, most_bytes: int = UNBOUNDED_BYTES) -> bytes | None:
        """The next datagram to send; None when there is none, or when it is longer than that."""
        waiting = self._transmit
        return waiting.popleft() if waiting and len(waiting[0]) <= most_bytes else None

    def poll_event(self) -> Event | None:
        """The next thing that happened, or None."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """None: there is no handshake, so nothing is ever due."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Do nothing: nothing is due."""

    def send(self, data: bytes) -> bool:
        """Send one record of application data; False, and counted, when that cannot be.

        Raises ValueError above MAX_PLAINTEXT_BYTES: it would not fit one datagram.
        """
        if len(data) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"{len(data)} bytes do not fit one DTLS datagram")
        if not data or self._over:
            self.dropped[Counted.DTLS_SEND_NOT_CONNECTED] += 1
            return False
        if len(self._transmit) >= MAX_QUEUED or self._next_write_sequence > MAX_SEQUENCE:
            self.dropped[Counted.DTLS_TRANSMIT_FULL] += 1
            return False
        self._transmit.append(self._seal(records.APPLICATION_DATA, data))
        return True

    def close(self) -> None:
        """End the association with close_notify."""
        if not self._over:
            self._over = True
            self._transmit.append(self._seal(records.ALERT, bytes((_WARNING, _CLOSE_NOTIFY))))

    def export_state(self) -> DtlsState:
        """Everything a further takeover needs. Raises RuntimeError when it is over."""
        if self._over:
            raise RuntimeError("a DTLS association can be exported while it is connected")
        was = self._state
        return DtlsState(
            role=was.role,
            cipher=was.cipher,
            master_secret=was.master_secret,
            client_random=was.client_random,
            server_random=was.server_random,
            srtp_keys=was.srtp_keys,
            next_write_sequence=self._next_write_sequence,
            last_read_sequence=self._last_read_sequence,
        )

    def _take(self, record: bytes) -> None:
        if self._over:  # what is bundled behind a close_notify
            self.dropped[Counted.DTLS_ENDED] += 1
            return
        if records.epoch(record) != _EPOCH:
            self.dropped[Counted.DTLS_REPEATED] += 1  # of the handshake that is long done
            return
        sequence = records.sequence(record)
        if self._is_old(sequence):
            self.dropped[Counted.DTLS_REPLAY] += 1
            return
        plaintext = self._open(record)
        if plaintext is None:
            self.dropped[Counted.DTLS_REJECTED] += 1
            return
        self._note(sequence)
        self._read_content(record[0], plaintext)

    def _read_content(self, content_type: int, plaintext: bytes) -> None:
        if content_type == records.APPLICATION_DATA:
            self._emit(ApplicationData(plaintext))
        elif content_type == records.ALERT and len(plaintext) == 2:
            self._read_alert(*plaintext)
        else:
            self.dropped[Counted.DTLS_REPEATED] += 1

    def _read_alert(self, level: int, description: int) -> None:
        if description == _CLOSE_NOTIFY:
            self.close()  # RFC 5246 §7.2.1: answered in kind
            self._emit(Closed())
        elif level != _WARNING:
            self._over = True
            self._emit(Failed("peer_alert"))

    def _emit(self, event: Event) -> None:
        if len(self._events) >= MAX_QUEUED and isinstance(event, ApplicationData):
            self.dropped[Counted.DTLS_EVENTS_FULL] += 1
            return
        self._events.append(event)

    def _is_old(self, sequence: int) -> bool:
        behind = self._last_read_sequence - sequence
        return behind >= REPLAY_WINDOW or (behind >= 0 and bool(self._seen >> behind & 1))

    def _note(self, sequence: int) -> None:
        ahead = sequence - self._last_read_sequence
        if ahead > 0:
            self._seen = self._seen << min(ahead, REPLAY_WINDOW) & (1 << REPLAY_WINDOW) - 1
            self._last_read_sequence, ahead = sequence, 0
        self._seen |= 1 << -ahead

    def _open(self, record: bytes) -> bytes | None:
        body = record[records.HEADER_BYTES :]
        if len(body) < _OVERHEAD_BYTES:
            return None
        explicit, sealed = body[:_EXPLICIT_BYTES], body[_EXPLICIT_BYTES:]
        extra = _additional(record[3:11], record[0], record[1:3], len(sealed) - _TAG_BYTES)
        try:
            return self._read.decrypt(self._read_salt + explicit, sealed, extra)
        except InvalidTag:
            return None

    def _seal(self, content_type: int, plaintext: bytes) -> bytes:
        # The counter rises before the record exists: no number is ever used twice.
        number = (_EPOCH << 48 | self._next_write_sequence).to_bytes(8)
        self._next_write_sequence += 1
        extra = _additional(number, content_type, _VERSION, len(plaintext))
        sealed = self._write.encrypt(self._write_salt + number, plaintext, extra)
        length = (len(number) + len(sealed)).to_bytes(2)
        return bytes((content_type,)) + _VERSION + number + length + number + sealed


def _additional(number: bytes, content_type: int, version: bytes, size_bytes: int) -> bytes:
    """What GCM authenticates beside the plaintext (RFC 5246 §6.2.3.3)."""
    return number + bytes((content_type,)) + version + size_bytes.to_bytes(2)


def _keys(state: DtlsState) -> tuple[AESGCM, bytes, AESGCM, bytes]:
    """Key and salt to write with, then to read with (RFC 5246 §6.3)."""
    if "GCM" not in state.cipher:
        raise ValueError("only AES-GCM associations can be resumed")
    key_bytes = 32 if "AES256" in state.cipher else 16
    seed = b"key expansion" + state.server_random + state.client_random
    digest = "sha384" if state.cipher.endswith("SHA384") else "sha256"
    block = _expand(state.master_secret, seed, digest, 2 * (key_bytes + _SALT_BYTES))
    client_key, server_key = block[:key_bytes], block[key_bytes : 2 * key_bytes]
    salts = block[2 * key_bytes :]
    client = AESGCM(client_key), salts[:_SALT_BYTES]
    server = AESGCM(server_key), salts[_SALT_BYTES:]
    return (*client, *server) if state.role is Role.CLIENT else (*server, *client)


def _expand(secret: bytes, seed: bytes, digest: str, size_bytes: int) -> bytes:
    """P_hash (RFC 5246 §5)."""
    chained, output = seed, b""
    while len(output) < size_bytes:
        chained = hmac.digest(secret, chained, digest)
        output += hmac.digest(secret, chained + seed, digest)
    return output[:size_bytes]
