"""Nothing that signaling passes around shows a password, a session or an SDP when it is printed."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from tests.transceiver.offers import real_offer
from transceiver.call.offer import Offer
from transceiver.pod import peer
from transceiver.signaling import answer, form, fragment, generations, intake, offer_policy
from transceiver.signaling.client_secret import ClientSecret
from transceiver.signaling.sdp_sections import Section

SECRET = "GpzJ-not-to-be-seen"
SECRETS = {
    *("ufrag", "password", "local_ufrag", "local_password", "remote_ufrag", "remote_password"),
    *("session_json", "answer", "content", "body", "lines"),
}
VALUES = [
    ClientSecret,
    Offer,
    Section,
    answer.LocalIdentity,
    form.Field,
    fragment.Fragment,
    generations.Generation,
    intake.PlacedCall,
    peer.Answer,
]


def filled(kind: type[Any]) -> Any:
    """A value of the type in which every secret field says SECRET."""
    fields = get_type_hints(kind)
    assert SECRETS & set(fields), "a type without secrets has no place in this list"
    values = {name: SECRET if name in SECRETS else None for name in fields}
    made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_a_value_shows_no_secret(kind: type[Any]) -> None:
    """Neither `repr` nor `str`, which is what a traceback and a log print."""
    value = filled(kind)
    assert SECRET not in f"{value!r} {value}"


def test_an_offer_shows_neither_credentials_nor_lines() -> None:
    """A real one, read."""
    checked = offer_policy.read_offer(real_offer())
    shown = repr(checked)
    assert checked.offer.password not in shown
    assert checked.offer.ufrag not in shown
