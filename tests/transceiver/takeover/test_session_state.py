"""A call as a value: bytes and back, what its text shows, and what foreign bytes do."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transceiver.takeover.session_state import (
    MAX_STATE_BYTES,
    DtlsPart,
    IceGeneration,
    LinkState,
    SessionState,
    SrtpPart,
    StateUnreadable,
    read,
    write,
)

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**40), 2**40),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=40),
    bool: st.booleans(),
    type(None): st.none(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the state's fields have them."""
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        fields = {field.name: values(hints[field.name]) for field in dataclasses.fields(kind)}
        return st.builds(kind, **fields)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return limited(*arguments)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (types.UnionType, Union):
        return st.one_of(*map(values, arguments))
    if arguments[-1] is Ellipsis:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    return st.tuples(*map(values, arguments))


def limited(kind: Any, *rules: Any) -> st.SearchStrategy[Any]:
    if kind is not int:
        return values(kind)
    bounds = {name: limit for rule in rules for name, limit in limits(rule)}
    return st.integers(bounds.get("ge"), bounds.get("le", 2**62))


def limits(rule: Any) -> list[tuple[str, int]]:
    return [
        (key, getattr(m, key)) for m in rule.metadata for key in ("ge", "le") if hasattr(m, key)
    ]


@given(values(SessionState))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=100, deadline=None)
def test_bytes_and_back(state: SessionState) -> None:
    """Every state is the same after it was bytes."""
    assert read(write(state)) == state


@given(values(SessionState), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50, deadline=None)
def test_damaged_bytes_are_refused(state: SessionState, data: st.DataObject) -> None:
    """A cut is never read; a flipped bit gives another state or StateUnreadable, nothing else."""
    written = write(state)
    with pytest.raises(StateUnreadable):
        read(written[: data.draw(st.integers(0, len(written) - 1))])
    damaged = bytearray(written)
    damaged[data.draw(st.integers(0, len(written) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(StateUnreadable):
        assert isinstance(read(bytes(damaged)), SessionState)


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused(foreign: bytes) -> None:
    """Whatever the bytes, StateUnreadable."""
    with pytest.raises(StateUnreadable):
        read(foreign)


@given(values(SessionState))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=5, deadline=None)
def test_another_version_is_refused(state: SessionState) -> None:
    """A reader says which field it was, and quotes nothing."""
    members = json.loads(write(state)) | {"version": 2}
    with pytest.raises(StateUnreadable, match="version: literal_error"):
        read(json.dumps(members).encode())


def test_too_much_is_refused() -> None:
    """Nothing above the bound is parsed."""
    with pytest.raises(StateUnreadable, match="more than"):
        read(b" " * (MAX_STATE_BYTES + 1))


def test_secrets_do_not_show() -> None:
    """Keys, passwords and what the caller told the model are not in any repr."""
    secret = b"secret-secret"
    parts = (
        DtlsPart("client", "ECDHE", secret, secret, secret, 1, 1),
        SrtpPart("profile", secret, secret, 0, 0, 0),
        IceGeneration("secret", "secret", "secret"),
        LinkState("echo", '{"secret": 1}', 1),
    )
    assert "secret" not in repr(parts).replace("master_secret", "")
