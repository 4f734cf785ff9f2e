"""The route token: what reads, what is refused and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import token
from wire.errors import WireError
from wire.keys import KeyRing
from wire.token import Route

KEYS = KeyRing(1, {1: b"a" * 32})
ROTATED = KeyRing(2, {2: b"b" * 32, 1: b"a" * 32})
RETIRED = KeyRing(2, {2: b"b" * 32})

routes = st.builds(Route, st.integers(0, 0xFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))


@given(route=routes, random=st.binary(min_size=4, max_size=4))
def test_round_trip(route: Route, random: bytes) -> None:
    """A minted token is 24 letters and digits and leads where it should."""
    ufrag = token.mint(KEYS, route, random)
    assert len(ufrag) == 24
    assert ufrag.isalnum()
    assert token.read(KEYS, ufrag) == route


@given(
    route=routes, at=st.integers(0, 23), change=st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
)
def test_any_changed_character_is_refused(route: Route, at: int, change: str) -> None:
    """The MAC covers every bit, the key id included."""
    ufrag = token.mint(KEYS, route, b"rand")
    forged = ufrag[:at] + change + ufrag[at + 1 :]
    if forged == ufrag:
        return
    with pytest.raises(WireError) as caught:
        token.read(KEYS, forged)
    assert caught.value.reason in {"token_mac", "token_key"}


def test_case_does_not_matter_for_the_route() -> None:
    """A client that changes the case of a ufrag still reaches its owner."""
    route = Route(1, 2, 3)
    assert token.read(KEYS, token.mint(KEYS, route, b"rand").lower()) == route


def test_rotation() -> None:
    """Old tokens read while their key is in the ring, new ones are signed with the current key."""
    route = Route(1, 2, 3)
    old = token.mint(KEYS, route, b"rand")
    new = token.mint(ROTATED, route, b"rand")
    assert token.read(ROTATED, old) == token.read(ROTATED, new) == route
    assert token.password(ROTATED, old) == token.password(KEYS, old)
    with pytest.raises(WireError, match="token_key"):
        token.read(RETIRED, old)
    with pytest.raises(WireError, match="token_key"):
        token.password(RETIRED, old)


def test_another_fleets_key_is_refused() -> None:
    """Same key id, other key."""
    with pytest.raises(WireError, match="token_mac"):
        token.read(KeyRing(1, {1: b"z" * 32}), token.mint(KEYS, Route(1, 2, 3), b"rand"))


@pytest.mark.parametrize(
    ("ufrag", "reason"),
    [
        ("", "token_length"),
        ("A" * 23, "token_length"),
        ("A" * 25, "token_length"),
        ("A" * 256, "token_length"),
        ("A" * 23 + "U", "token_alphabet"),
        ("A" * 23 + "+", "token_alphabet"),
        ("A" * 23 + "é", "token_alphabet"),
        ("é" * 24, "token_alphabet"),
    ],
)
def test_malformed(ufrag: str, reason: str) -> None:
    """Truncated, over-long or foreign ufrags have a reason each."""
    with pytest.raises(WireError, match=reason):
        token.read(KEYS, ufrag)
    with pytest.raises(WireError, match=reason):
        token.password(KEYS, ufrag)


def test_passwords() -> None:
    """160 bits, ice-chars only, different for every ufrag and key."""
    one, two = (token.mint(KEYS, Route(1, 2, 3), bytes([n] * 4)) for n in (1, 2))
    assert len(token.password(KEYS, one)) == 32
    assert token.password(KEYS, one).isalnum()
    assert token.password(KEYS, one) != token.password(KEYS, two)
    assert token.password(KEYS, one) == token.password(KEYS, one)


@pytest.mark.parametrize(
    "text", ["", "1", "1:zz", "1:" + "a" * 63, "16:" + "a" * 64, "1:" + "a" * 64 + ",1:" + "b" * 64]
)
def test_bad_key_rings(text: str) -> None:
    """A ring that cannot be used is refused, and its text is not repeated."""
    with pytest.raises(ValueError, match=r".") as caught:
        KeyRing.parse(text)
    assert "aaaa" not in str(caught.value)


def test_key_ring_text_round_trip() -> None:
    """What `export` writes, `parse` reads; the current key stays current; repr shows none."""
    assert KeyRing.parse(ROTATED.export()) == ROTATED
    assert "62" * 4 not in repr(ROTATED)
