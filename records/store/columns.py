"""The table `calls`: what is known of a call in one row, and how news changes it.

KEEP     the first value that is told stays
NEWEST   the value that was told last, by the time of the event
MOST     the larger of the two
LEAST    the smaller of the two
SUM      both together; 0 when nothing is told
"""

from __future__ import annotations

from enum import Enum


class How(Enum):
    """How a value that is told joins the one that is there."""

    KEEP = "COALESCE({table}.{name}, excluded.{name})"
    NEWEST = (
        "CASE WHEN excluded.last_us >= {table}.last_us"
        " THEN COALESCE(excluded.{name}, {table}.{name})"
        " ELSE COALESCE({table}.{name}, excluded.{name}) END"
    )
    # Neither database's GREATEST passes over NULL as the other's does.
    MOST = (
        "CASE WHEN {table}.{name} IS NULL OR excluded.{name} > {table}.{name}"
        " THEN excluded.{name} ELSE {table}.{name} END"
    )
    LEAST = (
        "CASE WHEN {table}.{name} IS NULL OR excluded.{name} < {table}.{name}"
        " THEN excluded.{name} ELSE {table}.{name} END"
    )
    SUM = "{table}.{name} + excluded.{name}"


_K, _N, _S = How.KEEP, How.NEWEST, How.SUM
# By name: the SQL type, and how. Times are Unix µs. What is counted is of both directions' Media
# and of events as record.proto has them.
CALLS: dict[str, tuple[str, How]] = {
    # Who and where
    "tenant": ("TEXT", _K),
    "key_id": ("TEXT", _K),
    "secret_id": ("TEXT", _K),
    "surface": ("TEXT", _K),
    "cluster": ("BIGINT", _K),
    "region": ("TEXT", _K),
    "node": ("BIGINT", _N),  # where it is now, or was at last
    "build": ("TEXT", _N),
    "network": ("TEXT", _N),  # of the caller, /24 or /48
    "voice_format": ("TEXT", _K),
    # When
    "placed_us": ("BIGINT", How.LEAST),
    "answered_us": ("BIGINT", How.LEAST),
    "connected_us": ("BIGINT", How.LEAST),
    "ended_us": ("BIGINT", How.MOST),
    "first_us": ("BIGINT", How.LEAST),  # of any event
    "last_us": ("BIGINT", How.MOST),
    # Why it ended, by the words of record.proto in lower case: hangup, caller_hung_up
    "end_reason": ("TEXT", _N),
    "end_cause": ("TEXT", _N),
    "lasted_s": ("{real}", How.MOST),
    # The model
    "backend": ("TEXT", _N),
    "backend_build": ("TEXT", _N),
    "model": ("TEXT", _N),
    "voice": ("TEXT", _N),
    "prompt_id": ("TEXT", _N),
    "prompt_version": ("TEXT", _N),
    "instructions_sha256": ("TEXT", _N),
    "tools_sha256": ("TEXT", _N),
    "settings_sha256": ("TEXT", _N),
    "recording_consent": ("BOOLEAN", _N),
    # The conversation; `turns` and what follows to v2v are counted from the table of turns
    "turns": ("BIGINT", _N),
    "turns_interrupted": ("BIGINT", _N),
    "turns_failed": ("BIGINT", _N),
    "v2v_p50_ms": ("{real}", _N),
    "v2v_p95_ms": ("{real}", _N),
    "tools": ("BIGINT", _S),
    "tools_failed": ("BIGINT", _S),
    "input_tokens": ("BIGINT", _S),
    "output_tokens": ("BIGINT", _S),
    "price": ("{real}", _S),  # what backends said by themselves
    # The network
    "packets_from_caller": ("BIGINT", _S),
    "packets_to_caller": ("BIGINT", _S),
    "lost_from_caller": ("BIGINT", _S),
    "lost_to_caller": ("BIGINT", _S),
    "concealed_ms": ("{real}", _S),
    "longest_gap_ms": ("{real}", How.MOST),
    "gaps": ("BIGINT", _S),
    "paths": ("BIGINT", _S),
    # What happened to it
    "moves": ("BIGINT", _S),
    "faults": ("BIGINT", _S),
    "model_faults": ("BIGINT", _S),
    "operator_acts": ("BIGINT", _S),
    # What the plumbing of it took
    "cpu_s": ("{real}", _S),
    "bytes_from_caller": ("BIGINT", _S),
    "bytes_to_caller": ("BIGINT", _S),
    # The record itself
    "events": ("BIGINT", _S),
    "size_bytes": ("BIGINT", _S),
    "holes": ("BIGINT", _S),  # events that sources say are missing
}


def definitions() -> str:
    """The columns as CREATE TABLE wants them, `{real}` still to be named."""
    return ",\n".join(f"{name} {kind}{_rest(how)}" for name, (kind, how) in CALLS.items())


def upsert() -> str:
    """The statement that joins what is told of a call with its row."""
    names = ["call_id", *CALLS]
    changes = ", ".join(
        f"{name} = {how.value.format(table='calls', name=name)}" for name, (_, how) in CALLS.items()
    )
    return (
        f"INSERT INTO calls ({', '.join(names)})"  # noqa: S608 - names of ours
        f" VALUES ({', '.join(':' + name for name in names)})"
        f" ON CONFLICT (call_id) DO UPDATE SET {changes}"
    )


def _rest(how: How) -> str:
    return " NOT NULL DEFAULT 0" if how is How.SUM else ""
