"""Who asked, and why: what of it may stand in a log; key rings from an operator's hand."""

from __future__ import annotations

import pytest

from fleet.admin.operator import MAX_WHY_CHARS, BadKeys, BadWhy, key_ids, key_ring, who, why
from wire.keys import KeyRing


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        ("ipv4:203.0.113.9:51234", "203.0.113.0/24"),
        ("ipv6:[2001:db8:1:2::3]:51234", "2001:db8:1::/48"),
        ("ipv6:%5B2001:db8:1:2::3%5D:51234", "2001:db8:1::/48"),
        ("unix:/run/admin.sock", "unreadable"),
        ("", "unreadable"),
    ],
)
def test_an_operator_is_shown_by_network(peer: str, shown: str) -> None:
    """The peer as gRPC names it, cut to its prefix."""
    assert str(who(peer)) == shown


def test_a_reason_is_one_redacted_line() -> None:
    """Line breaks and addresses do not reach the log; an overlong reason is refused."""
    assert why("flood\n from 203.0.113.9") == "flood from 203.0.113.0/24"
    assert why("x" * MAX_WHY_CHARS) == "x" * MAX_WHY_CHARS
    with pytest.raises(BadWhy, match="200"):
        why("x" * (MAX_WHY_CHARS + 1))


def test_a_ring_is_read_as_in_the_settings() -> None:
    """The first key is current; ids come back with it in front."""
    ring = key_ring("5:" + "ab" * 32 + ",1:" + "cd" * 32, "token_keys")
    assert ring == KeyRing(5, {5: b"\xab" * 32, 1: b"\xcd" * 32})
    assert key_ids(ring) == [5, 1]


@pytest.mark.parametrize("text", ["", "abcd", "abab:1", "99:" + "ab" * 32, "1:" + "ab" * 33])
def test_bad_text_is_named_and_not_quoted(text: str) -> None:
    """The error says which field and what rule, and nothing that was written."""
    with pytest.raises(BadKeys) as caught:
        key_ring(text, "trunk_keys")
    assert str(caught.value).startswith("trunk_keys: ")
    assert "abab" not in str(caught.value) and "abcd" not in str(caught.value)
