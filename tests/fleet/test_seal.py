"""Seals: what was sealed opens in its place, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.seal import LARGEST_SEALED, MAX_AGE_MS, BrokenSeal, Seal, fresh
from wire.keys import KeyRing

OLD, NEW = {1: b"o" * 32}, {2: b"n" * 32}
OLD_RING = KeyRing(1, OLD)


def seal_of(ring: KeyRing = OLD_RING, purpose: str = "p", cluster: int = 3) -> Seal:
    return Seal(lambda: ring, purpose, cluster)


@given(name=st.binary(max_size=40), content=st.binary(max_size=400))
def test_what_was_sealed_opens(name: bytes, content: bytes) -> None:
    """Under the same name, and it is a short text of ASCII."""
    sealed = seal_of().seal(name, content)
    assert sealed.isascii()
    assert seal_of().open(name, sealed) == content


@pytest.mark.parametrize(
    "other",
    [
        seal_of(purpose="q"),
        seal_of(cluster=4),
        seal_of(KeyRing(1, {1: b"x" * 32})),
        seal_of(KeyRing(2, NEW)),
    ],
)
def test_a_seal_opens_in_its_place_alone(other: Seal) -> None:
    """Not for another purpose, cluster, or key; nor under another name."""
    sealed = seal_of().seal(b"n", b"content")
    with pytest.raises(BrokenSeal):
        other.open(b"n", sealed)
    with pytest.raises(BrokenSeal):
        seal_of().open(b"m", sealed)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_text_is_broken(place: int, change: int) -> None:
    """Whichever character of it."""
    sealed = seal_of().seal(b"n", b"content")
    place %= len(sealed)
    changed = sealed[:place] + chr(ord(sealed[place]) ^ change) + sealed[place + 1 :]
    with pytest.raises(BrokenSeal):
        seal_of().open(b"n", changed)


@given(st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text()), st.text()))
def test_anything_else_is_broken(found: object) -> None:
    """Whatever stands in the store is refused, and nothing else is raised."""
    with pytest.raises(BrokenSeal):
        seal_of().open(b"n", found)


def test_what_is_too_long_is_not_looked_at() -> None:
    """The work has a bound, however much somebody writes."""
    sealed = seal_of().seal(b"n", bytes(LARGEST_SEALED))
    with pytest.raises(BrokenSeal, match="not a sealed text"):
        seal_of().open(b"n", sealed)


def test_rings_rotate() -> None:
    """A text opens while its key is in the ring; a new one is sealed with the current key."""
    both, new = seal_of(KeyRing(2, NEW | OLD)), seal_of(KeyRing(2, NEW))
    sealed = seal_of().seal(b"n", b"content")
    assert both.open(b"n", sealed) == b"content"
    with pytest.raises(BrokenSeal):
        new.open(b"n", sealed)
    assert new.open(b"n", both.seal(b"n", b"content")) == b"content"


def test_a_ring_that_changes_is_followed() -> None:
    """The ring is asked for at each use."""
    ring = [KeyRing(1, OLD)]
    seal = Seal(lambda: ring[0], "p", 3)
    sealed = seal.seal(b"n", b"content")
    ring[0] = KeyRing(2, NEW)
    assert seal.seal(b"n", b"content").startswith("2.")
    with pytest.raises(BrokenSeal):
        seal.open(b"n", sealed)


def test_hidden_names_say_nothing() -> None:
    """One for each key, the current one first; they differ by name, cluster, purpose and key."""
    both = KeyRing(2, NEW | OLD)
    names = seal_of(both).hidden_names(b"n")
    assert names == [*seal_of(KeyRing(2, NEW)).hidden_names(b"n"), *seal_of().hidden_names(b"n")]
    others = [
        seal_of(both).hidden_names(b"m"),
        seal_of(both, purpose="q").hidden_names(b"n"),
        seal_of(both, cluster=4).hidden_names(b"n"),
    ]
    assert len({name for row in (names, *others) for name in row}) == 8


def test_fresh_is_half_a_minute_either_way() -> None:
    """Clocks that the trunk works with are good enough here."""
    ages_ms = (-MAX_AGE_MS - 1, -MAX_AGE_MS, 0, MAX_AGE_MS, MAX_AGE_MS + 1)
    assert [fresh(10**6, 10**6 + age) for age in ages_ms] == [False, True, True, True, False]
