"""Price books: what is read, and how a mistake is named."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.money.book import Book
from records.money.book_file import default_book, load_book, parse
from records.money.places import MAX_CHARS, BookError


def test_the_default_has_sources_and_dates() -> None:
    """Every price that is not nothing says where and when it was read; so does every offer."""
    book = default_book()
    prices = [price for kinds in book.models.values() for price in kinds.values()]
    for price in [*prices, *book.plumbing.values()]:
        assert price.source.startswith("https://")
        assert price.as_of.startswith("2026-")
    for offer in book.rented:
        assert offer.source.startswith("https://")
        assert offer.as_of.startswith("2026-")
    audio = book.prices_of("openai", "gpt-realtime-2.1")["audio_input_tokens"]
    assert audio.list == Decimal(32) / 10**6
    assert book.prices_of("openai", "gpt-4o-mini-2024-07-18")["text_input_tokens"].paid == Decimal(
        "0.00000015"
    )


def test_a_book_goes_over_the_default(tmp_path: Path) -> None:
    """What it names is its own; the rest stays. A dated model is found by its name."""
    path = tmp_path / "prices.yaml"
    path.write_text(
        "models:\n- model: ours\n  prices: {text_input_tokens: {list: 2, paid: 1}}\n"
        "plumbing: {egress_gigabyte: 0.05}\nfixed_month: 900\n"
    )
    book = load_book(path)
    assert book.prices_of("anybody", "ours-2026-01-31")["text_input_tokens"].paid == Decimal(
        "0.000001"
    )
    assert book.plumbing["egress_gigabyte"].paid == Decimal("5e-11")
    assert book.plumbing["core_hour"] == default_book().plumbing["core_hour"]
    assert (book.fixed_month, book.currency) == (900, "USD")
    assert book.prices_of("openai", "gpt-realtime-2.1")
    assert not book.prices_of("openai", "no-such-model")
    assert book.prices_of("", "gpt-realtime-2.1") == book.prices_of("OpenAI", "GPT-Realtime-2.1")


def test_a_model_of_two_providers_is_not_guessed() -> None:
    """Without the name of a provider nobody knows whose price it is."""
    one = "- {provider: %s, model: m, prices: {text_input_tokens: %d}}\n"
    book = parse(f"currency: USD\nmodels:\n{one % ('a', 1)}{one % ('b', 2)}", Book(""))
    assert book.prices_of("b", "m")["text_input_tokens"].list == Decimal("0.000002")
    assert book.prices_of("", "m") == {}


def test_another_currency_leaves_the_default_behind() -> None:
    """Dollars and euros do not add up."""
    book = parse("currency: EUR\nplumbing: {core_hour: 0.03}", default_book())
    assert (book.models, book.rented, list(book.plumbing)) == ({}, (), ["core_hour"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the book is empty"),
        ("- 1", "line 1, the book: this is a mapping, with a key and a value on each line"),
        ("currency: USD\nplumbing: {core_hour: cheap}", "line 2, plumbing.core_hour: this is a number, such as 0.09"),
        ("currency: USD\n\nplumbing:\n  core_hour: -1", "line 4, plumbing.core_hour: this is a number from 0 to 1000000000"),
        ("currency: USD\nplumbing: {core_hour: .nan}", "line 2, plumbing.core_hour: this is a number, such as 0.09"),
        ("currency: USD\nplumbing:\n  cor_hour: 1", "line 3, plumbing.cor_hour: it is not one of core_hour,"),
        ("currency: USD\ncurrency: EUR", "line 2, currency: this key is there twice"),
        ("models: []", "line 1, the book: currency is missing, such as USD"),
        ("currency: USD\nmodels:\n- model: m", "line 3, models[1]: a model has the keys model and prices"),
        ("currency: USD\nmodels:\n- model: m\n  prices: {tokens: 1}", "line 4, models[1].prices.tokens: it is not one of text_input_tokens,"),
        ("currency: USD\nmodels:\n- model: m\n  prices: {text_input_tokens: {paid: 1}}", "line 4, models[1].prices.text_input_tokens: a price has the key list"),
        ("currency: USD\nrented:\n- name: x\n  as_of: now", "line 3, rented[1]: an offer has the key source"),
        ("currency: USD\nrented: [{name: x, as_of: a, source: s, with_model: maybe}]", "line 2, rented[1].with_model: this is true or false"),
        ("currency: USD\na: b: c", "line 2: this is no YAML: mapping values"),
        ("x" * (MAX_CHARS + 1), "a price book has at most 1,000,000 characters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_line_and_key(text: str, said: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(BookError) as raised:
        parse(text, Book(""))
    assert str(raised.value).startswith(said)


def test_a_file_is_named(tmp_path: Path) -> None:
    """One that is not there, one that is no text, one with a mistake."""
    with pytest.raises(BookError, match=r"no\.yaml: no such file"):
        load_book(tmp_path / "no.yaml")
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BookError, match="it is no text in UTF-8"):
        load_book(path)
    path.write_text("currency: USD\nfixed_month: much")
    with pytest.raises(BookError, match=r"bytes.yaml: line 2, fixed_month"):
        load_book(path)


@given(st.text(max_size=200) | st.text("[]{}:-&*!|>'\"\n a1", max_size=60))
def test_any_text_is_a_book_or_a_clear_error(text: str) -> None:
    """Nothing else is raised."""
    try:
        parse(text, default_book())
    except BookError as error:
        assert str(error)
