"""STUN against RFC 5769's vectors, and its own rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import stun
from wire.address import pack_address, unpack_address
from wire.errors import WireError

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")

# RFC 5769 §2.1: a request, padded with spaces where it is padded.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "80220010" + b"STUN test client".hex() + "002400046e0001ff"
    "80290008932ff9b151263b36"
    "00060009" + b"evtj:h6vY".hex() + "202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
# §2.2 and §2.3: responses with an IPv4 and an IPv6 mapped address.
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b" + b"test vector".hex() + "20"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b" + b"test vector".hex() + "20"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)


def test_rfc_5769_request() -> None:
    """The sample request reads whole, and its integrity holds with the sample password only."""
    message = stun.read(REQUEST)
    assert message.method == stun.Method.BINDING
    assert message.message_class is stun.MessageClass.REQUEST
    assert message.transaction_id == TRANSACTION
    assert stun.username(message) == ("evtj", "h6vY")
    assert message.find(stun.Attribute.PRIORITY) == bytes.fromhex("6e0001ff")
    assert message.find(stun.Attribute.SOFTWARE) == b"STUN test client"
    assert stun.has_integrity(message, REQUEST, PASSWORD)
    assert not stun.has_integrity(message, REQUEST, PASSWORD + "x")


@pytest.mark.parametrize(
    ("packet", "address"),
    [
        (RESPONSE_V4, ("192.0.2.1", 32853)),
        (RESPONSE_V6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_rfc_5769_responses(packet: bytes, address: tuple[str, int]) -> None:
    """The sample responses give the sample addresses."""
    message = stun.read(packet)
    assert message.message_class is stun.MessageClass.SUCCESS
    value = message.find(stun.Attribute.XOR_MAPPED_ADDRESS)
    assert value is not None
    assert unpack_address(stun.read_xor_address(value, TRANSACTION)) == address
    assert stun.has_integrity(message, packet, PASSWORD)


def test_rfc_5769_responses_written() -> None:
    """Writing the sample response gives the sample bytes, but for the value of its padding."""
    address = stun.xor_address(pack_address("192.0.2.1", 32853), TRANSACTION)
    written = stun.write(
        stun.Method.BINDING,
        stun.MessageClass.SUCCESS,
        TRANSACTION,
        [(stun.Attribute.SOFTWARE, b"test vector"), (stun.Attribute.XOR_MAPPED_ADDRESS, address)],
        PASSWORD,
    )
    assert len(written) == len(RESPONSE_V4)
    assert written[:20] == RESPONSE_V4[:20]
    assert stun.read(written).attributes[:2] == stun.read(RESPONSE_V4).attributes[:2]
    assert stun.has_integrity(stun.read(written), written, PASSWORD)


def test_attributes_after_integrity_are_ignored() -> None:
    """RFC 8489 §14.5: what stands behind MESSAGE-INTEGRITY proves nothing and is not read."""
    signed = stun.write(1, stun.MessageClass.REQUEST, bytes(12), [], "p", fingerprint=False)
    extra = b"\x00\x06\x00\x04a:bc"
    packet = signed[:2] + (len(signed) - 20 + len(extra)).to_bytes(2) + signed[4:] + extra
    message = stun.read(packet)
    assert message.find(stun.Attribute.USERNAME) is None
    assert stun.has_integrity(message, packet, "p")


def test_the_first_of_two_attributes_counts() -> None:
    """RFC 8489 §14: a repeated attribute is ignored from the second on."""
    packet = stun.write(1, stun.MessageClass.REQUEST, bytes(12), [(6, b"a:b"), (6, b"c:d")])
    assert stun.username(stun.read(packet)) == ("a", "b")


@pytest.mark.parametrize("name", [b"", b":", b"a:", b":b", b"ab", b"\xff:b", b"a" * 508 + b":b"])
def test_bad_usernames(name: bytes) -> None:
    """Not two parts, not ASCII, or longer than RFC 8489 §14.3 allows."""
    message = stun.read(stun.write(1, stun.MessageClass.REQUEST, bytes(12), [(6, name)]))
    with pytest.raises(WireError, match="stun_username"):
        stun.username(message)


def test_a_check_of_nearly_an_mtu_is_read() -> None:
    """DTLS-in-STUN makes requests large, with USERNAME anywhere."""
    attributes = [(0xC070, bytes(1200)), (6, b"server:client")]
    packet = stun.write(1, stun.MessageClass.REQUEST, bytes(12), attributes, "p")
    assert stun.username(stun.read(packet)) == ("server", "client")


attributes = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(lambda kind: kind not in {8, 0x8028}), st.binary(max_size=40)
    ),
    max_size=6,
)


@given(
    method=st.integers(0, 0xFFF),
    kind=st.sampled_from(list(stun.MessageClass)),
    transaction=st.binary(min_size=12, max_size=12),
    attributes=attributes,
    password=st.none() | st.text(min_size=1, max_size=20),
    fingerprint=st.booleans(),
)
def test_round_trip(method, kind, transaction, attributes, password, fingerprint) -> None:  # type: ignore[no-untyped-def]
    """What is written is read back, and its integrity holds."""
    packet = stun.write(method, kind, transaction, attributes, password, fingerprint=fingerprint)
    message = stun.read(packet)
    assert (message.method, message.message_class) == (method, kind)
    assert message.transaction_id == transaction
    assert list(message.attributes[: len(attributes)]) == attributes
    assert stun.has_integrity(message, packet, password or "p") is (password is not None)


@given(
    host=st.ip_addresses(),
    port=st.integers(0, 65535),
    transaction=st.binary(min_size=12, max_size=12),
)
def test_xor_address_round_trip(host, port, transaction) -> None:  # type: ignore[no-untyped-def]
    """Both families, any port."""
    packed = pack_address(str(host), port)
    assert stun.read_xor_address(stun.xor_address(packed, transaction), transaction) == packed


def test_error_codes() -> None:
    """Class and number (RFC 8489 §14.8)."""
    assert stun.error_code(487, "Role Conflict") == b"\x00\x00\x04\x57Role Conflict"
    assert stun.read_error_code(stun.error_code(420, "")) == 420


def test_more_attributes_than_anybody_sends_are_refused() -> None:
    """A stranger's packet of empty attributes costs no more than a look, signed or not."""
    few = [(0x8099, b"")] * (stun.MAX_ATTRIBUTES - 3)
    assert stun.read(stun.write(1, stun.MessageClass.REQUEST, bytes(12), few, "p"))
    for behind in (0, 400):
        packet = stun.write(1, stun.MessageClass.REQUEST, bytes(12), few + few[: behind + 4], "p")
        with pytest.raises(WireError, match="stun_attribute"):
            stun.read(packet)
