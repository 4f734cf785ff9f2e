"""DTLS associations against each other over a bad network in virtual time, and against aiortc."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import heapq
import hmac
import random
import weakref
from collections.abc import Callable, Iterator

import pytest
from aiortc import RTCCertificate
from aiortc.rtcdtlstransport import (
    SRTP_PROFILES,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
)
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from transceiver.transport import dtls, dtls_records
from transceiver.transport.certificate import Fingerprint, LocalCertificate, PeerIdentity
from transceiver.transport.dtls import (
    ApplicationData,
    Closed,
    Connected,
    DtlsAssociation,
    DtlsState,
    Event,
    Failed,
    Role,
)
from transceiver.transport.srtp import SrtpSession

CLIENT, SERVER = LocalCertificate(), LocalCertificate()
WRONG = Fingerprint.parse("sha-256 " + ":".join(["AB"] * 32))


def client(now: float = 0.0, expect: Fingerprint | None = None) -> DtlsAssociation:
    return DtlsAssociation(Role.CLIENT, CLIENT, [expect or SERVER.fingerprint], now)


def server(now: float = 0.0, expect: Fingerprint | None = None) -> DtlsAssociation:
    return DtlsAssociation(Role.SERVER, SERVER, [expect or CLIENT.fingerprint], now)


def sent(association: DtlsAssociation) -> Iterator[bytes]:
    while (datagram := association.poll_transmit()) is not None:
        yield datagram


def events(association: DtlsAssociation) -> list[Event]:
    found = []
    while (event := association.poll_event()) is not None:
        found.append(event)
    return found


def exchange(a: DtlsAssociation, b: DtlsAssociation, now: float = 0.0) -> list[bytes]:
    """Carry datagrams at once and whole until both are quiet; gives what travelled."""
    carried: list[bytes] = []
    quiet = False
    while not quiet:
        quiet = True
        for sender, receiver in ((a, b), (b, a)):
            for datagram in sent(sender):
                carried.append(datagram)
                receiver.handle_datagram(datagram, now)
                quiet = False
    return carried


def connected_pair() -> tuple[DtlsAssociation, DtlsAssociation]:
    pair = client(), server()
    exchange(*pair)
    assert all(isinstance(events(side)[0], Connected) for side in pair)
    return pair


class Network:
    """Two associations and a seeded network that loses, doubles and delays, on virtual time."""

    def __init__(self, a: DtlsAssociation, b: DtlsAssociation, seed: int, loss: float) -> None:
        self.sides = (a, b)
        self.now = 0.0
        self.loss = loss
        self.random = random.Random(seed)
        self.on_the_way: list[tuple[float, int, DtlsAssociation, bytes]] = []
        self.datagrams = 0
        self.largest_bytes = 0

    def run(self, until: Callable[[], bool], limit_s: float = 29.0) -> None:
        while not until() and self.now < limit_s:
            self.step()

    def step(self) -> None:
        self.collect()
        timeouts = [side.poll_timeout() for side in self.sides]
        at = [moment for moment in timeouts if moment is not None]
        arrival = [self.on_the_way[0][0]] if self.on_the_way else []
        self.now = max(self.now, min(at + arrival))
        while self.on_the_way and self.on_the_way[0][0] <= self.now:
            _, _, receiver, datagram = heapq.heappop(self.on_the_way)
            receiver.handle_datagram(datagram, self.now)
        for side in self.sides:
            if (due := side.poll_timeout()) is not None and due <= self.now:
                side.handle_timeout(self.now)

    def collect(self) -> None:
        for sender, receiver in (self.sides, self.sides[::-1]):
            for datagram in sent(sender):
                self.largest_bytes = max(self.largest_bytes, len(datagram))
                for _ in range(self.random.choice((1, 1, 1, 2))):
                    if self.random.random() >= self.loss:
                        self.send(receiver, datagram)

    def send(self, receiver: DtlsAssociation, datagram: bytes) -> None:
        self.datagrams += 1
        arrival = self.now + self.random.uniform(0.005, 0.15)
        heapq.heappush(self.on_the_way, (arrival, self.datagrams, receiver, datagram))


@pytest.mark.parametrize("seed", range(40))
def test_the_handshake_survives_a_bad_network(seed: int) -> None:
    """With a third lost, some doubled and all reordered, both sides agree on the keys."""
    a, b = client(), server()
    network = Network(a, b, seed, loss=0.33)
    network.run(lambda: a.connected and b.connected)
    (ours,), (theirs,) = events(a), events(b)
    assert isinstance(ours, Connected)
    assert isinstance(theirs, Connected)
    assert (ours.keys.local, ours.keys.remote) == (theirs.keys.remote, theirs.keys.local)
    assert ours.keys.profile is theirs.keys.profile
    assert network.largest_bytes <= dtls_records.MAX_DATAGRAM_BYTES


def test_a_good_network_repeats_nothing() -> None:
    """On a clean path the handshake is four flights of one datagram and no timer is left."""
    a, b = client(), server()
    assert len(exchange(a, b)) == 4
    assert a.poll_timeout() is None
    assert b.poll_timeout() is None
    assert not a.dropped + b.dropped


@pytest.mark.parametrize("flight", range(4))
def test_a_lost_flight_is_repeated_after_400_ms(flight: int) -> None:
    """Whichever flight is lost, the first timer of `now` brings the handshake to its end."""
    a, b = client(), server()
    sides = (a, b) if flight % 2 == 0 else (b, a)
    for number in range(flight):
        sender, receiver = (a, b) if number % 2 == 0 else (b, a)
        for datagram in sent(sender):
            receiver.handle_datagram(datagram, 0.0)
    assert list(sent(sides[0]))  # lost
    assert min(filter(None, (a.poll_timeout(), b.poll_timeout()))) == dtls.RETRANSMIT_S
    for side in (a, b):
        side.handle_timeout(0.4)
    exchange(a, b, now=0.4)
    assert a.connected
    assert b.connected


def test_a_repeated_record_has_a_new_number() -> None:
    """The peer's replay check would drop a plaintext record it saw and could not use yet."""
    a = client()
    first = next(sent(a))
    a.handle_timeout(dtls.RETRANSMIT_S)
    again = next(sent(a))
    assert dtls_records.sequence(again) == dtls_records.sequence(first) + 1
    assert again[11:] == first[11:]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> LocalCertificate:
    """A certificate of several datagrams, so that the parts of a flight overtake one another."""
    part = x509.NameAttribute(x509.NameOID.COMMON_NAME, "x" * 60)
    name = x509.Name([x509.RelativeDistinguishedName([part])] * 30)
    with monkeypatch.context() as patch:
        patch.setattr("transceiver.transport.certificate.x509.Name", lambda _: name)
        return LocalCertificate()


def large_pair(large: LocalCertificate) -> tuple[DtlsAssociation, DtlsAssociation]:
    return (
        DtlsAssociation(Role.CLIENT, large, [large.fingerprint], 0.0),
        DtlsAssociation(Role.SERVER, large, [large.fingerprint], 0.0),
    )


def test_a_large_flight_is_cut_to_fit(large: LocalCertificate) -> None:
    """A flight above the datagram limit travels in several that fill it, none above it."""
    a, b = large_pair(large)
    carried = exchange(a, b)
    assert a.connected
    assert len(carried) > 6
    assert max(map(len, carried)) == dtls_records.MAX_DATAGRAM_BYTES


@pytest.mark.parametrize("seed", range(10))
def test_large_flights_survive_a_bad_network(large: LocalCertificate, seed: int) -> None:
    """What OpenSSL drops because it came too early is taken when it is repeated."""
    a, b = large_pair(large)
    Network(a, b, seed, loss=0.33).run(lambda: a.connected and b.connected)
    assert a.connected
    assert b.connected


def test_a_repeated_hello_is_answered_at_once() -> None:
    """The peer's repetition brings our lost flight again without waiting for our timer."""
    a, b = client(), server()
    hello = next(sent(a))
    b.handle_datagram(hello, 0.0)
    assert list(sent(b))
    b.handle_datagram(hello, 0.01)
    assert not list(sent(b))  # a duplicate made by the network
    b.handle_datagram(hello, 0.1)
    assert list(sent(b))


def test_repetitions_are_bounded() -> None:
    """A peer that repeats its hello for ever gets no more than the budget back."""
    a, b = client(), server()
    hello = next(sent(a))
    answers = 0
    for step in range(200):
        b.handle_datagram(hello, step * 0.1)
        answers += len(list(sent(b)))
    assert answers == 1 + dtls.MAX_REPEATS


def test_an_unanswered_handshake_ends_after_30_seconds() -> None:
    """Silence ends in Failed("timeout"), after a bounded number of datagrams."""
    a = client()
    datagrams = len(list(sent(a)))
    steps = 0
    while (due := a.poll_timeout()) is not None:
        a.handle_timeout(due)
        datagrams += len(list(sent(a)))
        steps += 1
        assert steps < 200
    assert events(a) == [Failed("timeout")]
    assert 10 <= datagrams <= 1 + dtls.MAX_REPEATS


def test_too_many_handshake_datagrams_end_it() -> None:
    """A peer cannot keep a handshake busy for ever."""
    b = server()
    hello = next(sent(client()))
    for _ in range(dtls.MAX_HANDSHAKE_DATAGRAMS + 1):
        b.handle_datagram(hello, 0.0)
    assert events(b) == [Failed("too_many_datagrams")]


def test_a_datagram_of_empty_records_is_refused() -> None:
    """A hundred records that say nothing cost as little as one that is too long."""
    record = b"\x16\xfe\xfd" + bytes(10)
    most = dtls_records.MAX_RECORDS
    assert dtls_records.split_records(record * most) == [record] * most
    assert dtls_records.split_records(record * (most + 1)) is None


@pytest.mark.parametrize("liar", Role)
def test_a_wrong_fingerprint_ends_the_handshake(liar: Role) -> None:
    """Who presents another certificate than the SDP's is refused with a fatal alert."""
    if liar is Role.CLIENT:
        honest, other = server(expect=WRONG), client()
    else:
        honest, other = client(expect=WRONG), server()
    carried = exchange(honest, other)
    alerts = [r for d in carried for r in dtls_records.split_records(d) or [] if r[0] == 21]
    assert events(honest) == [Failed("fingerprint_mismatch")]
    assert alerts[0][13] == 2  # fatal
    assert events(other) == [Failed("peer_alert")]
    assert not honest.send(b"x")


def test_the_strongest_hash_decides() -> None:
    """A right sha-256 does not help a wrong sha-512; a second value of the same hash does."""
    wrong_512 = Fingerprint.parse("sha-512 " + ":".join(["00"] * 64))
    honest = DtlsAssociation(Role.CLIENT, CLIENT, [SERVER.fingerprint, wrong_512], 0.0)
    exchange(honest, server())
    assert events(honest) == [Failed("fingerprint_mismatch")]
    honest = DtlsAssociation(Role.CLIENT, CLIENT, [WRONG, SERVER.fingerprint], 0.0)
    exchange(honest, server())
    assert honest.connected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha-256",
        "sha-1 " + ":".join(["AB"] * 20),
        "md5 " + ":".join(["AB"] * 16),
        "sha-256 " + ":".join(["AB"] * 31),
        "sha-256 " + ":".join(["GG"] * 32),
        "sha-256 " + "AB" * 32,
    ],
)
def test_other_fingerprints_are_refused(text: str) -> None:
    """Only sha-256, -384 and -512, complete and well written, are read."""
    with pytest.raises(ValueError, match="fingerprint"):
        Fingerprint.parse(text)


def test_a_fingerprint_reads_back() -> None:
    """The text for SDP and the value are the same thing, whatever the case."""
    assert Fingerprint.parse(str(CLIENT.fingerprint).lower()) == CLIENT.fingerprint


def test_no_fingerprint_is_an_error() -> None:
    """An association without an identity to check cannot be made."""
    with pytest.raises(ValueError, match="fingerprint"):
        PeerIdentity([])


def test_application_data_both_ways() -> None:
    """Each record arrives once, whole and in order, the largest SCTP packet included."""
    a, b = connected_pair()
    for sender, receiver in ((a, b), (b, a)):
        assert all(sender.send(data) for data in (b"one", b"two", b"\x00" * 1189))
        exchange(a, b)
        assert events(receiver) == [ApplicationData(d) for d in (b"one", b"two", b"\x00" * 1189)]


def test_data_may_overtake_the_finished() -> None:
    """Records that arrive before the handshake's last flight are kept and delivered after it."""
    a, b = client(), server()
    b.handle_datagram(next(sent(a)), 0.0)
    a.handle_datagram(next(sent(b)), 0.0)
    b.handle_datagram(next(sent(a)), 0.0)
    finished = next(sent(b))
    assert b.send(b"early")
    a.handle_datagram(next(sent(b)), 0.0)
    a.handle_datagram(finished, 0.0)
    assert [type(event) for event in events(a)] == [Connected, ApplicationData]


def test_replayed_and_forged_records_are_counted() -> None:
    """A second copy and an altered one give nothing; the association lives on."""
    a, b = connected_pair()
    assert a.send(b"once")
    record = next(sent(a))
    forged = record[:-1] + bytes([record[-1] ^ 1])
    for datagram in (forged, record, record):
        b.handle_datagram(datagram, 0.0)
    assert events(b) == [ApplicationData(b"once")]
    assert b.dropped == {"dtls_rejected": 2}
    assert b.connected


def test_garbage_changes_nothing() -> None:
    """Random, cut and altered datagrams between the flights never raise, and the rest connects."""
    dice = random.Random(5)
    a, b = client(), server()
    for _ in range(4):
        for sender, receiver in ((a, b), (b, a)):
            for datagram in sent(sender):
                for junk in (b"", b"\x16", dice.randbytes(60), datagram[:-3], bytes(4000)):
                    receiver.handle_datagram(junk, 0.0)
                receiver.handle_datagram(datagram, 0.0)
    assert a.connected
    assert b.connected
    assert set(a.dropped) == {"dtls_size", "dtls_malformed"}


@pytest.mark.parametrize("role", Role)
def test_every_byte_of_a_hello_may_be_hostile(role: Role) -> None:
    """Whatever the first datagram says, it is ignored, answered or fails with one word."""
    a, b = client(), server()
    hello = next(sent(a))
    b.handle_datagram(hello, 0.0)
    first = hello if role is Role.SERVER else next(sent(b))
    for at in range(0, len(first), 3):
        victim = server() if role is Role.SERVER else client()
        altered = bytearray(first)
        altered[at] ^= 0xFF
        victim.handle_datagram(bytes(altered), 0.0)
        assert all(isinstance(event, Failed) for event in events(victim))


def test_noise_on_a_live_association_is_harmless() -> None:
    """Well-formed records of every type, epoch and content leave a connected pair connected."""
    dice = random.Random(6)
    a, b = connected_pair()
    for _ in range(500):
        kind, epoch = dice.choice((20, 22, 23, 24, 63)), dice.choice((0, 1, 2, 65535))
        body = dice.randbytes(dice.randrange(80))
        header = bytes([kind]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + dice.randbytes(6)
        b.handle_datagram(header + len(body).to_bytes(2, "big") + body, 0.0)
    assert a.send(b"still here")
    exchange(a, b)
    assert events(b) == [ApplicationData(b"still here")]


@pytest.mark.parametrize("closing", Role)
def test_close_notify(closing: Role) -> None:
    """Closing tells the peer once; both are over, and what comes later is only counted."""
    a, b = connected_pair()
    ours, theirs = (a, b) if closing is Role.CLIENT else (b, a)
    ours.close()
    ours.close()
    assert len(exchange(ours, theirs)) == 2
    assert events(theirs) == [Closed()]
    assert not events(ours)
    assert not theirs.send(b"x")
    assert theirs.poll_timeout() is None
    theirs.handle_datagram(b"\x17", 0.0)
    assert theirs.dropped == {"dtls_send_not_connected": 1, "dtls_ended": 1}


def test_closing_before_the_handshake_is_silent() -> None:
    """There is nobody to say goodbye to."""
    b = server()
    b.close()
    assert b.poll_transmit() is None
    assert b.poll_timeout() is None


def test_closing_leaves_nothing() -> None:
    """OpenSSL's object goes with the association, with no help from the cycle collector."""
    a, b = connected_pair()
    gc.disable()
    try:
        inner = weakref.ref(a._ssl)
        a.close()
        assert inner() is None
        outer = weakref.ref(b)
        del b
        assert outer() is None
    finally:
        gc.enable()


def test_queues_are_bounded() -> None:
    """Nobody fetching: sending says no, and received data is dropped and counted."""
    a, b = connected_pair()
    accepted = 0
    while a.send(b"x"):
        accepted += 1
    assert accepted == dtls.MAX_QUEUED
    for datagram in sent(a):
        b.handle_datagram(datagram, 0.0)
    while a.send(b"y"):
        b.handle_datagram(next(sent(a)), 0.0)
        if b.dropped:
            break
    assert b.dropped == {"dtls_events_full": 1}
    assert len(events(b)) == dtls.MAX_QUEUED


def test_oversized_data_is_an_error() -> None:
    """What cannot fit a datagram is the caller's mistake."""
    a, _ = connected_pair()
    with pytest.raises(ValueError, match="1201 bytes"):
        a.send(bytes(1201))


def test_a_peer_without_srtp_is_refused() -> None:
    """A handshake that agrees on no SRTP profile fails after it completed."""
    context = SSL.Context(SSL.DTLS_METHOD)
    certificate = RTCCertificate.generateCertificate()
    context.use_certificate(certificate._cert)
    context.use_privatekey(certificate._key)
    fingerprint = certificate.getFingerprints()[0]
    b = server(expect=Fingerprint.parse(f"{fingerprint.algorithm} {fingerprint.value}"))
    assert _openssl_client(context, b) == [Failed("no_srtp_profile")]


@pytest.mark.parametrize(
    ("version", "cipher", "reason"),
    [
        (0xFEFF, b"ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", "version"),
        (0xFEFD, b"ECDHE-ECDSA-AES128-SHA", "no_shared_cipher"),
    ],
)
def test_old_peers_are_refused(version: int, cipher: bytes, reason: str) -> None:
    """DTLS 1.0 and CBC ciphers fail with a word that says which."""
    context = RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(cipher)
    assert _openssl_client(context, server()) == [Failed(reason)]  # type: ignore[arg-type]


def _openssl_client(context: SSL.Context, association: DtlsAssociation) -> list[Event]:
    """Let a bare OpenSSL client shake hands with `association`; gives the association's events."""
    peer = SSL.Connection(context)
    peer.set_connect_state()
    for _ in range(4):
        with contextlib.suppress(SSL.Error):
            peer.do_handshake()
        try:
            association.handle_datagram(peer.bio_read(2048), 0.0)
        except SSL.WantReadError:
            break
        for datagram in sent(association):
            peer.bio_write(datagram)
    return events(association)


def _prf(secret: bytes, seed: bytes, size: int) -> bytes:
    """The TLS 1.2 PRF with SHA-256 (RFC 5246 §5)."""
    output, a = b"", seed
    while len(output) < size:
        a = hmac.digest(secret, a, "sha256")
        output += hmac.digest(secret, a + seed, "sha256")
    return output[:size]


def _gcm_keys(state: DtlsState) -> tuple[bytes, bytes, bytes, bytes]:
    """Client key, server key, client salt, server salt of AES-128-GCM (RFC 5288 §3)."""
    seed = b"key expansion" + state.server_random + state.client_random
    block = _prf(state.master_secret, seed, 40)
    return block[:16], block[16:32], block[32:36], block[36:40]


def test_an_exported_state_reads_and_writes_without_openssl() -> None:
    """From the state alone one record of each direction is opened and one is written."""
    a, b = connected_pair()
    assert a.send(b"a first record")
    exchange(a, b)
    events(b)
    state = b.export_state()
    assert state.cipher == "ECDHE-ECDSA-AES128-GCM-SHA256"
    client_key, server_key, client_salt, server_salt = _gcm_keys(state)

    assert a.send(b"to the new owner")
    record = next(sent(a))
    assert dtls_records.sequence(record) == state.last_read_sequence + 1
    nonce, body = record[13:21], record[21:]
    aad = record[3:11] + record[0:3] + (len(body) - 16).to_bytes(2, "big")
    assert AESGCM(client_key).decrypt(client_salt + nonce, body, aad) == b"to the new owner"

    reply = b"from the new owner"
    number = (1 << 48 | state.next_write_sequence).to_bytes(8, "big")
    aad = number + b"\x17\xfe\xfd" + len(reply).to_bytes(2, "big")
    sealed = number + AESGCM(server_key).encrypt(server_salt + number, reply, aad)
    a.handle_datagram(b"\x17\xfe\xfd" + number + len(sealed).to_bytes(2, "big") + sealed, 0.0)
    assert events(a) == [ApplicationData(reply)]


def test_the_write_sequence_is_the_next_one() -> None:
    """The exported number is that of the record sent next, repeated flights included."""
    a, _ = connected_pair()
    a.send(b"one")
    state = a.export_state()
    a.send(b"two")
    *_, record = sent(a)
    assert dtls_records.sequence(record) == state.next_write_sequence


def test_there_is_no_state_before_and_after() -> None:
    """Only a connected association can be exported, and its secrets do not show."""
    a, _ = connected_pair()
    state = a.export_state()
    assert state.master_secret.hex() not in repr(state)
    assert str(state.master_secret) not in repr(state)
    a.close()
    for association in (a, client()):
        with pytest.raises(RuntimeError, match="connected"):
            association.export_state()


class _Link:
    """An ICE transport for aiortc whose other end is an association."""

    role = "controlling"

    def __init__(self, association: DtlsAssociation) -> None:
        self.association = association
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()

    async def _recv(self) -> bytes:
        return await self.inbox.get()

    async def _send(self, data: bytes) -> None:
        self.association.handle_datagram(data, 0.0)
        self.pump()

    def pump(self) -> None:
        for datagram in sent(self.association):
            self.inbox.put_nowait(datagram)


class _Receiver:
    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def _handle_data(self, data: bytes) -> None:
        await self.heard.put(data)


@pytest.mark.parametrize("role", Role)
async def test_aiortc_connects(role: Role) -> None:
    """aiortc's own transport agrees with us in both roles: keys, data, SRTP and close."""
    certificate = RTCCertificate.generateCertificate()
    fingerprints = [
        Fingerprint.parse(f"{f.algorithm} {f.value}") for f in certificate.getFingerprints()
    ]
    ours = DtlsAssociation(role, SERVER, fingerprints, 0.0)
    link = _Link(ours)
    theirs = RTCDtlsTransport(link, [certificate])  # type: ignore[arg-type]
    theirs._set_role("server" if role is Role.CLIENT else "client")
    receiver = _Receiver()
    theirs._register_data_receiver(receiver)
    link.pump()
    own = RTCDtlsFingerprint(SERVER.fingerprint.algorithm, SERVER.fingerprint.value)
    await theirs.start(RTCDtlsParameters([own]))
    assert theirs.state == "connected"
    (event,) = events(ours)
    assert isinstance(event, Connected)

    assert ours.send(b"hello aiortc")
    link.pump()
    assert await receiver.heard.get() == b"hello aiortc"
    await theirs._send_data(b"hello yourself")
    assert events(ours) == [ApplicationData(b"hello yourself")]

    packet = b"\x80\x6f\x00\x01" + bytes(8) + b"opus"
    srtp = SrtpSession(event.keys)
    assert srtp.unprotect_rtp(theirs._tx_srtp.protect(packet)) == packet
    assert theirs._rx_srtp.unprotect(srtp.protect_rtp(packet)) == packet

    await theirs.stop()
    assert events(ours) == [Closed()]
