"""A proof is good for one request, once, for half a minute, among processes with the same keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.seal import MAX_AGE_MS, Seal
from transceiver.call.principal import Principal
from transceiver.pod import proof
from transceiver.pod.proof import PURPOSE, NotProven, Passed, Proofs
from wire.keys import KeyRing

RING = KeyRing(1, {1: bytes(range(32))})
PAGE = Principal("acme", "k_1", "secret", ("audio",))
ASKED = Passed("PATCH", "/whip/rtc_1", PAGE, "a/b", '"tag"', b"body")


class Clock:
    def __init__(self) -> None:
        self.unix_s = 1e9

    def __call__(self) -> float:
        return self.unix_s


def proofs(now: Clock | None = None, ring: KeyRing = RING, cluster: int = 0) -> Proofs:
    return Proofs(Seal(lambda: ring, PURPOSE, cluster), now or Clock())


def test_it_says_for_whom() -> None:
    """The other process learns who asks, from the proof alone; nobody else can read it."""
    written = proofs().write(ASKED)
    assert "acme" not in written
    stranger = replace(ASKED, principal=Principal("x", "x"), id="?")
    assert proofs().read(stranger, written) == ASKED


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"path": "/whip/rtc_2"},
        {"content_type": "a/c"},
        {"if_match": "*"},
        {"body": b"bodY"},
    ],
)
def test_it_is_bound_to_its_request(change: dict[str, Any]) -> None:
    """With another method, path, header or body it proves nothing."""
    with pytest.raises(NotProven):
        proofs().read(replace(ASKED, **change), proofs().write(ASKED))


def test_it_is_bound_to_the_fleet() -> None:
    """Other keys, another cluster, another purpose under the same keys: nothing."""
    other = KeyRing(1, {1: bytes(32)})
    for foreign in (
        proofs(ring=other),
        proofs(cluster=1),
        Proofs(Seal(lambda: RING, "directory", 0), Clock()),
    ):
        with pytest.raises(NotProven):
            proofs().read(ASKED, foreign.write(ASKED))


def test_it_ages() -> None:
    """Half a minute either way, since clocks differ."""
    written = proofs().write(ASKED)
    for late_s, good in ((MAX_AGE_MS / 1000, True), (MAX_AGE_MS / 1000 + 1, False), (-31, False)):
        later = Clock()
        later.unix_s += late_s
        try:
            assert proofs(later).read(ASKED, written) == ASKED
            assert good
        except NotProven:
            assert not good


def test_it_is_carried_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as it could be good; then its id is forgotten. What is remembered is bounded."""
    clock = Clock()
    judge = proofs(clock)
    judge.carry_out(ASKED)
    clock.unix_s += 2 * MAX_AGE_MS / 1000 - 1
    with pytest.raises(NotProven):
        judge.carry_out(ASKED)
    clock.unix_s += 2
    judge.carry_out(ASKED)
    monkeypatch.setattr(proof, "MAX_REMEMBERED", 2)
    judge.carry_out(replace(ASKED, id="two"))
    with pytest.raises(NotProven):
        judge.carry_out(replace(ASKED, id="three"))


def test_an_answer_is_bound_to_its_question() -> None:
    """Another status, body or question: nobody of the fleet said that."""
    judge = proofs()
    written = judge.write_answer("id", 200, b"yes")
    judge.check_answer("id", 200, b"yes", written)
    for request_id, status, body in (("di", 200, b"yes"), ("id", 404, b"yes"), ("id", 200, b"no")):
        with pytest.raises(NotProven):
            judge.check_answer(request_id, status, body, written)


@given(st.text() | st.from_regex(r"\A1\.[A-Za-z0-9_-]{0,200}\Z"))
def test_any_other_text_proves_nothing(text: str) -> None:
    """By one kind of error."""
    with pytest.raises(NotProven):
        proofs().read(ASKED, text)
    with pytest.raises(NotProven):
        proofs().check_answer("id", 200, b"", text)
