"""What must not be stored is not in what is stored."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.record.redaction import BadHook, Content, redact, redaction


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("My card is 4111 1111 1111 1111, thanks", "My card is [card], thanks"),
        ("4111-1111-1111-1112", "[number]"),  # not a card by its last digit, and long
        ("378282246310005", "[card]"),
        ("call +49 (0)30 1234-567 now", "call [number] now"),
        ("030 1234567", "[number]"),
        ("ann.lee+x@mail.example.org writes", "[e-mail] writes"),
        ("My name is Ann Lee.", "My name is [name]."),
        ("Hello, this is Ann and I call", "Hello, this is [name] and I call"),
        ("ich bin Jürgen Öhler", "ich bin [name]"),
        ("this is fine", "this is fine"),
        ("I am 42 and it is 10:30 on 3/4", "I am 42 and it is 10:30 on 3/4"),
        ("room 12345", "room 12345"),
        ("", ""),
    ],
)
def test_by_pattern(said: str, kept: str) -> None:
    """Cards, addresses, numbers and names go, and what is near to them stays."""
    assert redact(said) == kept


@given(st.text())
def test_any_text(text: str) -> None:
    """It never raises, and nothing is left to take away."""
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text", ["1 " * 20_000, "a" * 40_000, "a@" * 20_000, "my name is " * 4_000]
)
def test_work_is_bounded(text: str) -> None:
    """What is long and nearly a match takes milliseconds of CPU, not seconds."""
    began_s = time.process_time()
    redact(text)
    assert time.process_time() - began_s < 2.0


def test_policies() -> None:
    """Nothing, what is redacted, or all of it."""
    assert redaction(Content.METADATA)("said") == ""
    assert redaction(Content.REDACTED)("a@b.example") == "[e-mail]"
    assert redaction(Content.WHOLE)("a@b.example") == "a@b.example"


def test_a_hook_comes_last() -> None:
    """It sees what the patterns have left."""
    hook = f"{__name__}:shout"
    assert redaction(Content.REDACTED, hook)("a@b.example said") == "[E-MAIL] SAID"
    assert redaction(Content.WHOLE, hook)("a@b.example") == "A@B.EXAMPLE"
    assert redaction(Content.METADATA, hook)("a") == ""


@pytest.mark.parametrize(
    "hook", ["", "nowhere_at_all:f", f"{__name__}:missing", f"{__name__}:WORD"]
)
def test_a_hook_that_is_none(hook: str) -> None:
    """It is refused when the process starts."""
    if hook:
        with pytest.raises(BadHook):
            redaction(Content.REDACTED, hook)


WORD = "no function"


def shout(text: str) -> str:
    return text.upper()
