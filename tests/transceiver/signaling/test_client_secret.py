"""A client secret says what was sealed into it, to whoever has the keys, until it expires."""

from __future__ import annotations

import secrets
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.api_key import key_id
from transceiver.signaling.client_secret import (
    MAX_CHARS,
    PREFIX,
    ClientSecret,
    SecretRefused,
    SessionTooLarge,
    seal,
    unseal,
)
from wire.keys import KeyRing

BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"

KEY_ID = key_id("the key it was made with")

ONE = KeyRing(1, {1: bytes(range(32))})
BOTH = KeyRing(2, {1: bytes(range(32)), 2: bytes(range(1, 33))})
SECRET = ClientSecret(1000, '{"instructions":"Be brief."}', KEY_ID)


def _refusal(ring: KeyRing, text: str, unix_s: float = 0) -> str:
    with pytest.raises(SecretRefused) as refused:
        unseal(ring, text, unix_s)
    return refused.value.reason


def test_it_says_what_was_sealed() -> None:
    """The other side of `seal` is `unseal`, and what is inside cannot be read without keys."""
    text = seal(ONE, SECRET)
    assert text.startswith(PREFIX)
    assert "brief" not in text
    assert unseal(ONE, text, 999.9) == SECRET
    assert seal(ONE, SECRET) != text, "two secrets are never the same"


def test_it_expires() -> None:
    """At its second it is good no more."""
    assert _refusal(ONE, seal(ONE, SECRET), 1000) == "expired"


def test_keys_rotate() -> None:
    """A ring that still has the old key takes old secrets; one without it does not."""
    old, new = seal(ONE, SECRET), seal(BOTH, SECRET)
    assert unseal(BOTH, old, 0) == unseal(BOTH, new, 0) == SECRET
    assert _refusal(ONE, new) == "forged"
    assert _refusal(KeyRing(1, {1: bytes(32)}), old) == "forged"


def test_the_largest_session_and_the_next() -> None:
    """What does not fit into a header line is refused when it is made."""
    noise = secrets.token_urlsafe
    assert len(seal(ONE, ClientSecret(1, noise(3900), KEY_ID))) <= MAX_CHARS
    with pytest.raises(SessionTooLarge):
        seal(ONE, ClientSecret(1, noise(6000), KEY_ID))
    prose = '{"instructions": "' + "Answer in one short sentence. " * 1000 + '"}'
    assert unseal(ONE, seal(ONE, ClientSecret(1, prose, KEY_ID)), 0).session_json == prose


@given(st.text() | st.text(alphabet="abcXYZ019-_", max_size=200).map(PREFIX.__add__))
@example(PREFIX)
@example(PREFIX + "é" * 50)
@example(PREFIX + "A" * MAX_CHARS)
def test_any_other_text_is_refused(text: str) -> None:
    """Whatever is not a secret of ours is refused, by one kind of error."""
    assert _refusal(ONE, text) in {"malformed", "forged"}


@given(st.data())
def test_every_changed_character_is_noticed(data: st.DataObject) -> None:
    """No bit of a secret can be changed; expiry and key id are under the seal too."""
    text = seal(ONE, SECRET)
    at = data.draw(st.integers(len(PREFIX), len(text) - 2))
    # By a distance and not by a letter: what is drawn may not depend on the nonce of this secret.
    distance = data.draw(st.integers(1, len(BASE64URL) - 1))
    other = BASE64URL[(BASE64URL.index(text[at]) + distance) % len(BASE64URL)]
    assert _refusal(ONE, text[:at] + other + text[at + 1 :]) == "forged"
