"""Addresses: text in, text out, and a sentence for what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.process.address import Address, shown

hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,3}", fullmatch=True),
)


@given(hosts, st.integers(0, 65535))
def test_written_and_read_back(host: str, port: int) -> None:
    """Whatever can be an address survives being written and read."""
    address = Address(host, port)
    assert Address.parse(str(address)) == address


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    """Hostile text gives one kind of error, on one line."""
    try:
        Address.parse(text)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1


def test_ipv6_stands_in_brackets() -> None:
    """RFC 3986: the colons of IPv6 must not run into the port."""
    assert str(Address("2001:db8::1", 3478)) == "[2001:db8::1]:3478"
    assert Address.parse("[::1]:0") == Address("::1", 0)
    assert Address.parse("[fe80::1%eth0]:9").numeric


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "host", "host:", "host:port", "1.2.3.4:70000", "1.2.3.4:-1", "::1:80"),
        *(
            "[::1]80",
            "[1.2.3.4]:80",
            "[host]:80",
            "a b:80",
            "-x:80",
            "host:\uff18\uff10",
            "[::1:80",
            "x/y:1",
        ),
        f"{'h' * 254}:80",
    ],
)
def test_refused(text: str) -> None:
    """Nothing that is not plainly host and port gets through."""
    with pytest.raises(ValueError, match="is not"):
        Address.parse(text)


def test_numeric() -> None:
    """Names have to be resolved, numbers do not."""
    assert Address("127.0.0.1", 1).numeric
    assert Address("::", 1).numeric
    assert not Address("redis.svc.cluster.local", 1).numeric


def test_shown_fits_one_line() -> None:
    """What an error quotes is printable and short, whatever was typed."""
    assert shown("a\nb\x1b[31m") == "a?b?[31m"
    assert shown("x" * 1000) == "x" * 60 + "…"


def test_without_a_host_it_is_every_address() -> None:
    """`:8080` is `[::]:8080`: every address of this machine, as `0.0.0.0` is of IPv4."""
    assert Address.parse(":8080") == Address.parse("[::]:8080") == Address("::", 8080)
    unspecified = ("[::]:1", "0.0.0.0:1", ":1", "[0::0]:1")
    assert all(Address.parse(text).unspecified for text in unspecified)
    assert not any(Address.parse(text).unspecified for text in ("[::1]:1", "127.0.0.1:1", "h:1"))
