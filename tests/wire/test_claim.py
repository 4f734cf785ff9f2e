"""A claim as a frame, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import claim, trunk
from wire.address import pack_address
from wire.claim import Claim
from wire.errors import WireError
from wire.keys import KeyRing
from wire.trunk import FrameType, Tagger

TAGGER = Tagger(KeyRing(3, {3: b"k" * 32}))
CLIENT = pack_address("203.0.113.7", 40000)
UFRAG = "0123456789ABCDEFGHJKMNPQ"
senders = st.integers(0, 0xFFFFFFFF)


@given(owner=senders, fenced=senders, address=st.binary(min_size=18, max_size=18))
def test_round_trip(owner: int, fenced: int, address: bytes) -> None:
    """Every field comes back from the frame."""
    said = Claim(UFRAG, owner, fenced, address)
    assert claim.read(*said.frame()) == said


def test_the_bytes_are_those_of_the_page() -> None:
    """ufrag, owner, fenced; the address stands in the entry."""
    address, payload = Claim(UFRAG, 0x01020304, 0x05060708, CLIENT).frame()
    assert address == CLIENT
    assert payload == UFRAG.encode() + bytes(range(1, 9))
    assert len(payload) == claim.CLAIM_BYTES


@pytest.mark.parametrize("payload", [b"", bytes(31), bytes(33), b"\xff" * 32])
def test_what_is_no_claim_is_refused(payload: bytes) -> None:
    """Another length, or a ufrag that is no text."""
    with pytest.raises(WireError, match="trunk_claim"):
        claim.read(CLIENT, payload)


def test_many_claims_share_a_datagram() -> None:
    """All the calls that moved to one process are claimed in a few datagrams."""
    claims = [Claim(UFRAG, number) for number in range(30)]
    runs = list(trunk.fill([said.frame() for said in claims], trunk.DEFAULT_MTU))
    datagrams = [trunk.pack(TAGGER, 1, 2, 3, run, FrameType.CLAIM) for run in runs]
    frames = [frame for data in datagrams for frame in trunk.read(TAGGER, data).frames]
    assert [claim.read(*frame) for frame in frames] == claims
    assert len(datagrams) == 2


def test_a_sign_of_life_is_one_empty_frame() -> None:
    """It needs no client."""
    read = trunk.read(TAGGER, trunk.pack(TAGGER, 1, 2, 3, [claim.ALIVE], FrameType.ALIVE))
    assert (read.first, read.frames) == (FrameType.ALIVE, ((bytes(18), b""),))


def test_senders_name_node_and_epoch() -> None:
    """As in the trunk's header."""
    assert claim.sender(0x1234, 0xABCD) == 0x1234ABCD
    assert claim.node_and_epoch(0x1234ABCD) == (0x1234, 0xABCD)
    for node, epoch in ((-1, 0), (0, -1), (0x10000, 0), (0, 0x10000)):
        with pytest.raises(ValueError, match="0 to 65535"):
            claim.sender(node, epoch)


def test_a_claim_shows_neither_ufrag_nor_address() -> None:
    """It may stand in a log."""
    assert UFRAG not in repr(Claim(UFRAG, 1, 2, CLIENT))
    assert "203" not in repr(Claim(UFRAG, 1, 2, CLIENT))
