"""A checkpoint as text: what comes back, and what everybody else's text is refused for."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import LARGEST_TEXT, Stored
from tests.rings import token_ring
from tests.transceiver.recovery.states import make_state
from transceiver.recovery.checkpoint import Checkpoints, TooLarge
from transceiver.recovery.refusal import Refusal, Refused
from transceiver.takeover.session_state import SessionState, UnsentMessage, write
from wire.keys import KeyRing

OWNER = Owner(17, 3)
NOW = 1_800_000_000.0
VECTORS = Path(__file__).parents[2] / "vectors/checkpoints"
SESSION = '{"instructions": "' + "be kind " * 500 + '"}'


@pytest.fixture
def state() -> SessionState:
    made = replace(make_state(), unix_s=NOW)
    return replace(made, link=replace(made.link, session_json=SESSION))


@pytest.fixture
def checkpoints() -> Checkpoints:
    return Checkpoints(token_ring, 5)


def stored(checkpoints: Checkpoints, state: SessionState, owner: Owner = OWNER) -> Stored:
    session = checkpoints.write_session(owner, state)
    return checkpoints.write(owner, state)._replace(session=session)


def refused(read: Callable[[], object]) -> Refusal:
    with pytest.raises(Refused) as caught:
        read()
    return caught.value.reason


def test_a_call_comes_back(checkpoints: Checkpoints, state: SessionState) -> None:
    """All of it but the sound that the backend has still."""
    queued = replace(state.audio.send, queue=((b"\xf8" * 400, 960),) * 300)
    full = replace(state, audio=replace(state.audio, send=queued))
    text = stored(checkpoints, full)
    assert checkpoints.read(OWNER, text, NOW + 29) == state
    assert len(text.state) < 3000
    for shown in (state.dtls.master_secret, state.offer.password, state.call_id, "kind"):
        assert str(shown) not in text.state + text.session


def test_a_text_stands_for_its_call_and_owner_alone(
    checkpoints: Checkpoints, state: SessionState
) -> None:
    """Under another call, another owner, cluster or key, or in the other's place, it is nothing."""
    text = stored(checkpoints, state)
    other = stored(checkpoints, replace(state, call_id="rtc_other"))
    strange = Checkpoints(lambda: KeyRing(1, {1: b"x" * 32}), 5)
    for reader, owner, called in (
        (checkpoints, OWNER, text._replace(call_id="rtc_other")),
        (checkpoints, OWNER, other._replace(state=text.state)),
        (checkpoints, OWNER, text._replace(session=other.session)),
        (checkpoints, OWNER, Stored(text.call_id, text.session, text.state)),
        (checkpoints, OWNER, text._replace(session="")),
        (checkpoints, OWNER, text._replace(state=text.state[:-4])),
        (checkpoints, Owner(17, 2), text),
        (checkpoints, Owner(18, 3), text),
        (Checkpoints(token_ring, 6), OWNER, text),
        (strange, OWNER, text),
    ):
        assert refused(lambda: reader.read(owner, called, NOW)) is Refusal.UNREADABLE  # noqa: B023


def test_an_old_checkpoint_is_refused(checkpoints: Checkpoints, state: SessionState) -> None:
    """Whoever writes to the store can bring one back, for half a minute."""
    text = stored(checkpoints, state)
    for age_s in (31.0, 3600.0, -31.0):
        assert refused(lambda: checkpoints.read(OWNER, text, NOW + age_s)) is Refusal.TOO_OLD  # noqa: B023


def test_another_version_is_named(checkpoints: Checkpoints, state: SessionState) -> None:
    """Of the text, or of the state in it; what is sealed and no state at all is unreadable."""
    name = f"{OWNER}/{state.call_id}".encode()
    newer = write(state).replace(b'"version":1', b'"version":2')
    for content, reason in (
        (b"2" + zlib.compress(write(state)), Refusal.VERSION),
        (b"1" + zlib.compress(newer), Refusal.VERSION),
        (b"1" + zlib.compress(b"{}"), Refusal.UNREADABLE),
        (b"1" + write(state), Refusal.UNREADABLE),
        (b"", Refusal.VERSION),
    ):
        text = stored(checkpoints, state)._replace(state=checkpoints._seal.seal(name, content))
        assert refused(lambda: checkpoints.read(OWNER, text, NOW)) is reason  # noqa: B023


def test_checkpoints_of_releases_before_are_read(checkpoints: Checkpoints) -> None:
    """Each stays as it was written; a rolling upgrade takes calls over in both directions."""
    for path in sorted(VECTORS.glob("v*.txt")):
        text = Stored("rtc_one", *path.read_text().split())
        assert checkpoints.read(OWNER, text, NOW) == make_state("rtc_one", NOW)


def test_a_call_that_holds_too_much_is_not_kept(
    checkpoints: Checkpoints, state: SessionState
) -> None:
    """Its text has a bound."""
    assert state.sctp is not None
    chunks = tuple(UnsentMessage(1, 51, secrets.token_bytes(LARGEST_TEXT // 4)) for _ in range(4))
    with pytest.raises(TooLarge):
        checkpoints.write(OWNER, replace(state, sctp=replace(state.sctp, unsent=chunks)))
