"""What Redis says: directory records, owners of flows, limits that operators set."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable

from fleet.directory.redis_store import RedisStore
from fleet.limits.rules import LimitRules, Limits
from relay.supervisor.flow_store import RedisFlowStore
from tests.fuzz.mutation import words
from tests.fuzz.row import Reader, Row, made, plain, repeated, text_of
from tests.fuzz.rows.http import JSON_BREAKS, JSON_WORDS, _nested

RECORD_BYTES = 64 * 1024
"""A writer of Redis may write more; the work is in proportion, and Redis itself bears the most."""
_URL = "redis://127.0.0.1:1/0"
_RECORD = json.dumps({"name": "t-1", "trunk": "192.0.2.1:7000", "draining": False,
                      "admin": "192.0.2.1:9201", "http": "[2001:db8::1]:8080"})  # fmt: skip
_RECORDS = (
    _RECORD.encode(),
    json.dumps([3, 41, True, _RECORD]).encode(),
    b"[1, 100]",
    b"null",
    b"41",
)


def _directory() -> Reader:
    store = RedisStore(_URL, 7)

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")  # as the link has it decoded
        store._change(text)
        store._node("3", "41", text, load="[1, 100]")
        store._node("3", "41", _RECORD, load=text)
        store._node(text, text, _RECORD)

    return read


def _flows() -> Reader:
    store = RedisFlowStore(_URL, 7)
    return lambda data: store._owner(data.decode("utf-8", "replace"))


def _limits(data: bytes) -> None:
    text = text_of(data)
    for read in (LimitRules.parse, Limits.parse):
        with contextlib.suppress(ValueError):
            str(read(text))


def _records(size: int) -> Iterable[bytes]:
    yield from _nested(size)
    yield _RECORD.replace("t-1", "t" * (size - len(_RECORD))).encode()
    yield _RECORD.replace("192.0.2.1:7000", ":" * (size - len(_RECORD))).encode()
    yield _RECORD.replace("192.0.2.1:7000", "a." * ((size - len(_RECORD)) // 2) + ":1").encode()


ROWS = (
    Row(
        name="directory records",
        where="fleet/directory/redis_store.py",
        who="writers of Redis",
        largest=RECORD_BYTES,
        steps=3_000_000,
        becomes="counted as unreadable; the record is left out",
        open=made(_directory),
        seeds=_RECORDS,
        worst=_records,
        mutate=words((*JSON_WORDS, b'"trunk"', b'"a:1"', b'"[::1]:1"'), JSON_BREAKS, _RECORDS),
        weight=4,
    ),
    Row(
        name="owners of flows",
        where="relay/supervisor/flow_store.py",
        who="writers of Redis",
        largest=RECORD_BYTES,
        steps=2_000,
        becomes="counted as unreadable; the owner is not known",
        open=made(_flows),
        seeds=(b"300:41", b"0:0", b"65535:65535"),
        worst=repeated(b"1", b"1:", b":", b"\xff"),
        weight=12,
    ),
    Row(
        name="limits",
        where="fleet/limits/rules.py",
        who="operators and writers of Redis",
        largest=RECORD_BYTES,
        steps=2_000_000,
        becomes="one line that names the rule; in Redis it is counted and left out",
        open=plain(_limits),
        seeds=(
            b"key/*: calls=100 rate=10 tokens=500000; key/k_0123456789: calls=5; model/v: calls=4",
            b"calls=5 rate=0.5",
        ),
        worst=repeated(b"a=1 ", b"calls=1 ", b";", b"key/*: calls=1;", b"key/a", b"="),
        mutate=words((b"calls=", b"key/*", b"9999999999", b"0.001", b"\xc2\xb2", b";"), b" ;:="),
        weight=6,
    ),
)
