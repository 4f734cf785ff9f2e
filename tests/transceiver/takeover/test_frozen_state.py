"""Calls move between neighbouring releases: what was written once is read and written the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import Stored
from fleet.seal import Keys
from transceiver.moves.envelope import Envelope, Envelopes
from transceiver.recovery.checkpoint import Checkpoints
from transceiver.takeover.session_state import SessionState, StateUnreadable, read, write
from wire.keys import KeyRing

FOLDER = Path(__file__).parents[2] / "vectors" / "call_state"


def vector(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def state_of(members: object) -> SessionState:
    return read(json.dumps(members).encode())


def keys_of(members: dict[str, Any]) -> Keys:
    ring = KeyRing.parse(members["token_keys"])
    return lambda: ring


@pytest.fixture
def whole() -> SessionState:
    return state_of(vector("whole.json"))


def test_the_state_is_written_as_ever(whole: SessionState) -> None:
    """Nothing of it has another name, another form or another unit."""
    assert json.loads(write(whole)) == vector("whole.json")


def test_every_field_is_frozen(whole: SessionState) -> None:
    """A field that was added has a value in the file, and not that of its default."""
    assert list(plain_fields(whole)) == []


def plain_fields(value: Any, name: str = "state") -> list[str]:
    """Fields in it that say nothing, or what they would say if they were not there."""
    if value is None or value == ():
        return [name]
    if isinstance(value, tuple):
        return [found for part in value for found in plain_fields(part, name)]
    if not dataclasses.is_dataclass(value):
        return []
    found = []
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if field.name != "version" and inner == field.default:
            found.append(f"{name}.{field.name}")
        found += plain_fields(inner, f"{name}.{field.name}")
    return found


def test_an_older_state_reads_with_defaults(whole: SessionState) -> None:
    """What it does not say is the default, and all the rest is as it says."""
    assert state_of(vector("oldest.json")) == without_additions(whole)


def without_additions(value: Any) -> Any:
    """The value, with every field that has a default at that default."""
    if isinstance(value, tuple):
        return tuple(map(without_additions, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    kept = {
        field.name: without_additions(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.default is dataclasses.MISSING
    }
    return type(value)(**kept)


def test_fields_of_a_newer_release_are_passed_over(whole: SessionState) -> None:
    """Wherever they stand in it."""
    newer = with_news(vector("whole.json"))
    assert newer["ice"]["paths"][0]["news"] == {"of": [1]}
    assert state_of(newer) == whole


def with_news(value: Any) -> Any:
    """The JSON value, with one more member in every object."""
    if isinstance(value, list):
        return list(map(with_news, value))
    if isinstance(value, dict):
        return {**{key: with_news(inner) for key, inner in value.items()}, "news": {"of": [1]}}
    return value


@pytest.mark.parametrize("part", ["call_id", "ice", "dtls", "audio", "link"])
def test_a_state_without_what_it_always_had_is_refused(part: str) -> None:
    """No default makes up for it."""
    members = vector("oldest.json")
    del members[part]
    with pytest.raises(StateUnreadable, match=f"{part}: missing"):
        state_of(members)


def test_a_checkpoint_is_read_as_ever(whole: SessionState) -> None:
    """Seal, version, packing and state; the sound is not in it. One's own text reads the same."""
    frozen = vector("checkpoint.json")
    owner = Owner(*frozen["owner"])
    checkpoints = Checkpoints(keys_of(frozen), frozen["cluster"])
    stored = Stored(frozen["call_id"], frozen["state"], frozen["session"])
    silent = dataclasses.replace(whole.audio.send, queue=())
    state = dataclasses.replace(whole, audio=dataclasses.replace(whole.audio, send=silent))
    found = checkpoints.read(owner, stored, whole.unix_s)
    assert without_additions(found) == without_additions(state)
    assert checkpoints.read(owner, checkpoints.write_whole(owner, whole), whole.unix_s) == state


def test_a_move_is_read_as_ever(whole: SessionState) -> None:
    """Seal, owner, packing and state, and one's own likewise."""
    frozen = vector("move.json")
    envelopes = Envelopes(keys_of(frozen), frozen["cluster"])
    name = frozen["move"], frozen["target"]
    read_back = envelopes.read(*name, frozen["sealed"].encode())
    assert read_back.owner == frozen["owner"]
    assert without_additions(read_back.state) == without_additions(whole)
    ours = Envelope(frozen["owner"], whole)
    assert envelopes.read(*name, envelopes.write(*name, ours)) == ours
