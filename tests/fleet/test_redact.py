"""What may be said about a caller."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.redact import redact_network, redact_text
from fleet.redact_names import redact_by_name
from fleet.redacted_types import ClientAddress, Redacted, Secret, Transcript, Ufrag

UFRAG = "1A2B3C4D5E6F7G8H9J0K1M2N"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("203.0.113.7:5000", "unreadable"),
        ("", "unreadable"),
        ("somebody.example", "unreadable"),
    ],
)
def test_network(address: str, network: str) -> None:
    """The prefix is kept, the person is not."""
    assert redact_network(address) == network


@given(st.ip_addresses())
def test_network_holds_the_address_and_hides_it(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Every address lies in its network, which is never narrower than /24 or /48."""
    network = ipaddress.ip_network(redact_network(str(address)))
    assert network.prefixlen in (24, 48)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    assert (mapped or address) in network


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ClientAddress("203.0.113.7"), "203.0.113.0/24"),
        (Ufrag(UFRAG), "1A2B…"),
        (Secret("hunter2"), "***"),
        (Transcript("my card number is"), "[17 characters]"),
    ],
)
def test_types_print_redacted_everywhere(value: Redacted, text: str) -> None:
    """No way of turning the value into text shows it."""
    assert [str(value), repr(value), f"{value}", f"{value!r}", f"{value:>1}"] == [text] * 5
    assert "%s" % value == text  # noqa: UP031
    assert str([value]) == f"[{text}]"


@pytest.mark.parametrize(
    ("name", "value", "logged"),
    [
        ("client", "203.0.113.7", "203.0.113.0/24"),
        ("client_address", "203.0.113.7:5000", "203.0.113.0/24"),
        ("remote", "[2001:db8::1]:5000", "2001:db8::/48"),
        ("peer", ("203.0.113.7", 5000), "203.0.113.0/24"),
        ("ip", object, "unreadable"),
        ("ufrag", UFRAG, "1A2B…"),
        ("username", 7, "***"),
        ("redis_url", "redis://:x@h", "***"),
        ("api_keys", ["a", "b"], "***"),
        ("TRUNK_KEY", b"k", "***"),
        ("sdp", "v=0", "[3 characters]"),
        ("transcript", {"said": "hello"}, "***"),
        ("token", None, None),
        ("node", 7, 7),
        ("key_id", 3, 3),
        ("trunk", "127.0.0.1:5000", "127.0.0.1:5000"),
        ("caller", {"client": "203.0.113.7", "n": [Secret("x")]}, None),
    ],
)
def test_well_known_names(name: str, value: object, logged: object) -> None:
    """A forgotten type is caught by the name it is logged under."""
    if name == "caller":
        logged = {"client": "203.0.113.0/24", "n": ["***"]}
    assert redact_by_name(name, value) == logged


def test_depth_is_bounded() -> None:
    """A nest without end is cut, not followed."""
    nest: list[object] = []
    nest.append(nest)
    assert redact_by_name("nest", nest) == [[[["…"]]]]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("from ('203.0.113.7', 5000)", "from ('203.0.113.0/24', 5000)"),
        ("203.0.113.7:5000 closed.", "203.0.113.0/24:5000 closed."),
        ("peer 2001:db8:1:2::3.", "peer 2001:db8:1::/48."),
        (f"ufrag {UFRAG}:abcd", "ufrag 1A2B…:abcd"),
        (f"ufrag {UFRAG.lower()}", "ufrag 1a2b…"),
        ("listening on 127.0.0.1:80 and ::", "listening on 127.0.0.1:80 and ::"),
        ("at 12:30:45.123 line 3: x", "at 12:30:45.123 line 3: x"),
    ],
)
def test_running_text(text: str, redacted: str) -> None:
    """Sentences of libraries lose addresses and tokens, and keep the rest."""
    assert redact_text(text) == redacted


@given(st.text())
def test_running_text_never_raises(text: str) -> None:
    """A log line must not fail on what is in it."""
    redact_text(text)
