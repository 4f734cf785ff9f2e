"""A DTLS association carried on without OpenSSL, against one that still has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.caller import CALLER_CERTIFICATE, OUR_CERTIFICATE
from transceiver.takeover.resumed_dtls import REPLAY_WINDOW, ResumedDtls
from transceiver.transport import dtls_records as records
from transceiver.transport.dtls import ApplicationData, Closed, DtlsAssociation, Event, Failed, Role

Side = DtlsAssociation | ResumedDtls
both_roles = pytest.mark.parametrize("role", Role, ids=lambda role: role.value)


def connected(role: Role = Role.CLIENT) -> tuple[DtlsAssociation, DtlsAssociation]:
    """Ours in `role`, and the peer's, after the handshake and a word each way."""
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    ours = DtlsAssociation(role, OUR_CERTIFICATE, [CALLER_CERTIFICATE.fingerprint], 0.0)
    theirs = DtlsAssociation(other, CALLER_CERTIFICATE, [OUR_CERTIFICATE.fingerprint], 0.0)
    while not (ours.connected and theirs.connected):
        carry(ours, theirs)
        carry(theirs, ours)
    assert ours.send(b"before") and theirs.send(b"before")
    carry(ours, theirs)
    carry(theirs, ours)
    events(ours)
    events(theirs)
    return ours, theirs


def carry(sender: Side, receiver: Side) -> list[bytes]:
    """Deliver what `sender` has to send; the datagrams."""
    sent = []
    while (datagram := sender.poll_transmit()) is not None:
        receiver.handle_datagram(datagram, 0.0)
        sent.append(datagram)
    return sent


def events(side: Side) -> list[Event]:
    told = []
    while (event := side.poll_event()) is not None:
        told.append(event)
    return told


def taken_over(role: Role = Role.CLIENT) -> tuple[ResumedDtls, DtlsAssociation]:
    ours, theirs = connected(role)
    return ResumedDtls(ours.export_state()), theirs


@both_roles
def test_data_goes_on_both_ways(role: Role) -> None:
    """What either side sends after the takeover arrives, and again after a second takeover."""
    ours, theirs = taken_over(role)
    for _ in range(2):
        assert ours.send(b"from the new owner")
        carry(ours, theirs)
        assert events(theirs) == [ApplicationData(b"from the new owner")]
        assert theirs.send(b"from the peer")
        carry(theirs, ours)
        assert events(ours) == [ApplicationData(b"from the peer")]
        ours = ResumedDtls(ours.export_state())
    assert not ours.dropped


@both_roles
def test_either_side_may_close(role: Role) -> None:
    """close_notify ends the association in both directions, and nothing can be sent after it."""
    ours, theirs = taken_over(role)
    ours.close()
    carry(ours, theirs)
    assert events(theirs) == [Closed()]
    assert not ours.send(b"late")
    ours, theirs = taken_over(role)
    theirs.close()
    carry(theirs, ours)
    assert events(ours) == [Closed()]
    assert not ours.connected
    assert ours.poll_transmit() is not None  # answered in kind
    ours.close()
    assert ours.poll_transmit() is None


def test_the_old_owner_s_records_are_not_read_again() -> None:
    """What was read before the export, or since, is a replay."""
    ours, theirs = connected()
    theirs.send(b"once")
    datagrams = carry(theirs, ours)
    resumed = ResumedDtls(ours.export_state())
    theirs.send(b"twice")
    datagrams += carry(theirs, resumed)
    for datagram in datagrams:
        resumed.handle_datagram(datagram, 0.0)
    assert events(resumed) == [ApplicationData(b"twice")]
    assert resumed.dropped == {"dtls_replay": 2}


def test_records_may_overtake_one_another() -> None:
    """Within the window each is read once, whatever the order; behind it none is."""
    ours, theirs = taken_over()
    datagrams = []
    for number in range(REPLAY_WINDOW + 1):
        theirs.send(b"%d" % number)
        datagrams.append(theirs.poll_transmit() or b"")
    for datagram in reversed(datagrams):
        ours.handle_datagram(datagram, 0.0)
    assert len(events(ours)) == REPLAY_WINDOW
    assert ours.dropped == {"dtls_replay": 1}


def test_numbers_can_be_reserved() -> None:
    """A peer takes records whose numbers jump ahead."""
    ours, theirs = connected()
    state = ours.export_state()
    resumed = ResumedDtls(replace(state, next_write_sequence=state.next_write_sequence + 4096))
    resumed.send(b"ahead")
    carry(resumed, theirs)
    assert events(theirs) == [ApplicationData(b"ahead")]


def test_no_number_is_used_twice() -> None:
    """Every record has another nonce, alerts too."""
    ours, _ = taken_over()
    for _ in range(50):
        ours.send(b"x")
    ours.close()
    sent = []
    while (datagram := ours.poll_transmit()) is not None:
        sent.append(datagram[3:11])
    assert len(set(sent)) == 51


def test_every_flipped_byte_is_refused() -> None:
    """No altered record opens, none raises, and the true one still opens afterwards."""
    ours, theirs = taken_over()
    theirs.send(b"true")
    datagram = theirs.poll_transmit() or b""
    for at in range(len(datagram)):
        forged = bytearray(datagram)
        forged[at] ^= 1
        ours.handle_datagram(bytes(forged), 0.0)
    assert not events(ours)
    assert ours.dropped.total() == len(datagram)
    ours.handle_datagram(datagram, 0.0)
    assert events(ours) == [ApplicationData(b"true")]


def test_a_fatal_alert_is_a_failure() -> None:
    """An authentic fatal alert ends the association."""
    ours, theirs = taken_over()
    peer = ResumedDtls(theirs.export_state())
    ours.handle_datagram(peer._seal(records.ALERT, b"\x02\x28"), 0.0)
    assert events(ours) == [Failed("peer_alert")]
    with pytest.raises(RuntimeError):
        ours.export_state()


def test_bounds() -> None:
    """Unread events and unsent datagrams stop at their bound; too long is the sender's mistake."""
    ours, theirs = taken_over()
    for number in range(300):
        theirs.send(b"%d" % number)
        carry(theirs, ours)
        ours.send(b"x")
    assert ours.dropped["dtls_events_full"] == 300 - len(events(ours))
    assert ours.dropped["dtls_transmit_full"] > 0
    with pytest.raises(ValueError, match="do not fit"):
        ours.send(bytes(1201))


STATE = connected()[0].export_state()


@given(st.lists(st.binary(max_size=80)), st.booleans())
def test_garbage_never_raises(datagrams: list[bytes], framed: bool) -> None:
    """Arbitrary bytes, also as well-formed records, are counted and change nothing."""
    ours = ResumedDtls(STATE)
    for body in datagrams:
        head = b"\x17\xfe\xfd" + (1 << 48 | 2**40).to_bytes(8) + len(body).to_bytes(2)
        ours.handle_datagram(head + body if framed else body, 0.0)
    assert ours.poll_event() is None
    assert ours.connected


def test_another_cipher_cannot_be_resumed() -> None:
    """Only AES-GCM is spoken here."""
    with pytest.raises(ValueError, match="AES-GCM"):
        ResumedDtls(replace(STATE, cipher="ECDHE-ECDSA-CHACHA20-POLY1305"))
