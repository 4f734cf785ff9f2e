"""Clauses: cut where a voice can stop, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.agent.clauses import MAX_CHARS, ClauseChunker


def clauses(text: str, step: int = 1) -> list[str]:
    chunker = ClauseChunker()
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    return [clause for piece in pieces for clause in chunker.feed(piece)] + chunker.rest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sure! I can help.", ["Sure! ", "I can help."]),
        ("Well, that is it. Bye.", ["Well, ", "that is it. ", "Bye."]),
        (" ".join("abcdefghijklm"), ["a b c ", "d e f g h i j ", "k l m"]),
        ("b b b b b b b b b the b b", ["b b b ", "b b b b b b the b ", "b"]),
        ("Well, Dr. Smith is here. Yes.", ["Well, ", "Dr. Smith is here. ", "Yes."]),
        ("It costs 3.50 in all", ["It costs 3.50 ", "in all"]),
        ("Paris is the capital of France", ["Paris is the ", "capital of France"]),
        ("  ", []),
    ],
)
def test_where_it_is_cut(text: str, expected: list[str]) -> None:
    """At a comma, after three words, after seven that do not lean, later at sentence ends."""
    assert clauses(text) == expected


def test_a_sentence_without_an_end() -> None:
    """It is cut between words at the bound."""
    pieces = clauses("one, two, three, " + "word " * 200)
    assert max(map(len, pieces)) <= MAX_CHARS
    assert all(piece.endswith(" ") for piece in pieces[:-1])


@given(st.text("ab ,.?\n", max_size=300), st.integers(1, 50))
def test_nothing_is_lost(text: str, step: int) -> None:
    """Joined together the clauses are the text, but for white space at its end."""
    assert "".join(clauses(text, step)).rstrip() == text.rstrip()
