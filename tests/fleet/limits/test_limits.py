"""How limits are written and which of them a call meets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.limits.rules import LARGEST, Demand, LimitRules, Limits, check_subject

AMOUNTS = st.builds(
    Limits,
    st.integers(0, LARGEST),
    st.integers(0, LARGEST * 1000).map(lambda thousandths: thousandths / 1000),
    st.integers(0, LARGEST),
)


@given(AMOUNTS)
def test_what_is_written_is_read_again(limits: Limits) -> None:
    """Limits survive the store's notation, to three decimals of the rate."""
    again = Limits.parse(str(limits))
    assert (again.calls, again.tokens) == (limits.calls, limits.tokens)
    assert again.rate == pytest.approx(limits.rate, rel=1e-6)


@pytest.mark.parametrize(
    "text",
    ["", "calls", "calls=", "calls=-1", "calls=1 calls=2", "rate=0.0001", "calls=1.5", "size=3",
     "tokens=99999999999"],
)  # fmt: skip
def test_unreadable_limits_are_refused(text: str) -> None:
    """A word too many or an amount out of range is one sentence and no guess."""
    with pytest.raises(ValueError, match=r".{10,}"):
        Limits.parse(text)


def test_rules_are_read_by_subject() -> None:
    """The notation of the settings gives each subject its limits."""
    rules = LimitRules.parse("key/*: calls=2 rate=1.5; model/voice: tokens=10 ;")
    assert rules.rules == {"key/*": Limits(2, 1.5), "model/voice": Limits(tokens=10)}
    assert LimitRules.parse(str(rules)) == rules
    assert LimitRules.parse("") == LimitRules()


@pytest.mark.parametrize(
    "text", ["calls=1", "user/x: calls=1", "model/*: calls=1", "key/a: calls=1; key/a: calls=2"]
)
def test_unreadable_rules_are_refused(text: str) -> None:
    """No subject, an unknown kind, every model at once, or a subject twice."""
    with pytest.raises(ValueError, match=r".{10,}"):
        LimitRules.parse(text)


def test_a_key_of_its_own_wins_over_any_key() -> None:
    """`key/*` holds for keys without a rule, also where a key's own rule is looser."""
    rules = LimitRules.parse("key/*: calls=2; key/k_vip: calls=50")
    assert rules.demands("k_vip") == (Demand("key/k_vip", Limits(50)),)
    assert rules.demands("k_other") == (Demand("key/k_other", Limits(2)),)
    assert rules.limits_of("key/k_other") == Limits(2)


def test_a_model_counts_only_where_an_operator_named_it() -> None:
    """Callers choose the name of a model, and must not make accounts with it."""
    rules = LimitRules.parse("model/voice: calls=4")
    assert [demand.subject for demand in rules.demands("k", "voice")] == ["key/k", "model/voice"]
    assert [demand.subject for demand in rules.demands("k", "x" * 500)] == ["key/k"]
    assert rules.demands("k", "other", "voice") == rules.demands("k", "voice")
    assert rules.limits_of("model/other") == Limits()


def test_changes_take_the_place_of_rules() -> None:
    """What operators set wins over the settings, subject by subject."""
    rules = LimitRules.parse("key/*: calls=2; model/voice: calls=4")
    changed = rules.changed_by({"key/*": Limits(9), "key/k": Limits(1)})
    assert changed.limits_of("key/other").calls == 9
    assert changed.limits_of("key/k").calls == 1
    assert changed.limits_of("model/voice").calls == 4


@pytest.mark.parametrize(
    "subject", ["", "key/", "key/a b", "model/*", "key/" + "x" * 65, "key/a\n"]
)
def test_a_subject_is_checked(subject: str) -> None:
    """It becomes part of a Redis key and of a log line."""
    with pytest.raises(ValueError, match="is not key/ID"):
        check_subject(subject)
