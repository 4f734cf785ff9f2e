"""What Redis says: records of nodes, owners of flows, limits that operators set.

All of it is sealed by the fleet. What does not open is refused there; so the rows try texts as they
stand in Redis, and contents that are sealed rightly, as another version might write them.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterable

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import Stored
from fleet.directory.directory import Node
from fleet.directory.node_record import PURPOSE, seal_node
from fleet.directory.redis_store import RedisStore
from fleet.limits.redis_ledger import RedisLedger
from fleet.limits.rules import LimitRules, Limits
from relay.supervisor.flow_store import RedisFlowStore
from tests.fuzz.mutation import words
from tests.fuzz.row import Reader, Row, made, plain, repeated, text_of
from tests.fuzz.rows.http import JSON_BREAKS, JSON_WORDS, _nested
from tests.transceiver.recovery.states import make_state
from transceiver.recovery.checkpoint import Checkpoints
from transceiver.recovery.refusal import Refused
from transceiver.takeover.session_state import write
from trunkline.process.address import Address
from wire.address import pack_address
from wire.keys import KeyRing

VALUE_BYTES = 64 * 1024
"""A writer of Redis may write more; the seal looks at 4,096 characters."""
_URL = "redis://127.0.0.1:1/0"
_NOW_S = 1_700_000_000.0
_RING = KeyRing(1, {1: b"s" * 32})
_CALLER = pack_address("192.0.2.7", 5)
_RECORD = json.dumps(
    {
        "index": 3,
        "epoch": 41,
        "at_ms": int(_NOW_S * 1000),
        "trunk": "192.0.2.1:7000",
        "name": "t-1",
        "draining": False,
        "live": True,
        "admin": "192.0.2.1:9201",
        "http": "[2001:db8::1]:8080",
        "load": [1, 100],
    }
)


def _directory_store() -> RedisStore:
    return RedisStore(_URL, 7, lambda: _RING, unix_s=lambda: _NOW_S)


def _directory() -> Reader:
    store = _directory_store()

    def read(data: bytes) -> None:
        store._node_at("3", data.decode("utf-8", "replace"))  # as the link has it decoded
        store._read(store._seal.seal(PURPOSE.encode(), data[:3000]))

    return read


def _flow_store() -> RedisFlowStore:
    return RedisFlowStore(_URL, 7, lambda: _RING, unix_s=lambda: _NOW_S)


def _flows() -> Reader:
    store = _flow_store()

    def read(data: bytes) -> None:
        store._owner(_CALLER, data.decode("utf-8", "replace"))
        store._owner(_CALLER, store._seal.seal(_CALLER, data[:100]))

    return read


def _ledger() -> Reader:
    ledger = RedisLedger(_URL, 7, lambda: _RING, unix_s=lambda: _NOW_S)

    def read(data: bytes) -> None:
        ledger._limits("key/*", data.decode("utf-8", "replace"))
        ledger._limits("key/*", ledger._seal.seal(b"key/*", data[:3000]))
        ledger._set_at_ms.clear()

    return read


def _checkpoints() -> Reader:
    checkpoints = Checkpoints(lambda: _RING, 7)
    name, session = b"3:41/rtc_one", checkpoints.write_session(_LOST, _CALL)

    def read(data: bytes) -> None:
        inside = checkpoints._seal.seal(name, data)
        packed = checkpoints._seal.seal(name, b"1" + zlib.compress(data, 1))
        for text in (data.decode("utf-8", "replace"), inside, packed):
            for pair in ((text, session), (session, text)):
                with contextlib.suppress(Refused):
                    checkpoints.read(_LOST, Stored("rtc_one", *pair), _NOW_S)

    return read


def _limits(data: bytes) -> None:
    text = text_of(data)
    for read in (LimitRules.parse, Limits.parse):
        with contextlib.suppress(ValueError):
            str(read(text))


def _records(size: int) -> Iterable[bytes]:
    yield from _nested(size)
    room = min(size, 3000) - len(_RECORD)
    yield _RECORD.replace("t-1", "t" * room).encode()
    yield _RECORD.replace("192.0.2.1:7000", ":" * room).encode()
    yield _RECORD.replace("192.0.2.1:7000", "a." * (room // 2) + ":1").encode()
    yield b"1." + b"A" * (size - 2)


_NODE = Node(3, 41, Address("192.0.2.1", 7000), "t-1", at_ms=int(_NOW_S * 1000))
_RECORDS = (_RECORD.encode(), seal_node(_directory_store()._seal, _NODE).encode())
_OWNERS = (bytes(16), _flow_store()._seal.seal(_CALLER, bytes(16)).encode())
_RULES = (
    b"key/*: calls=100 rate=10 tokens=500000; key/k_0123456789: calls=5; model/v: calls=4",
    b"calls=5 rate=0.5",
)
_RULE_WORDS = words((b"calls=", b"key/*", b"9999999999", b"0.001", b"\xc2\xb2", b";"), b" ;:=")

_LOST = Owner(3, 41)
_CALL = make_state("rtc_one", _NOW_S)
_CHECKPOINTS = (write(_CALL), Checkpoints(lambda: _RING, 7).write(_LOST, _CALL).state.encode())

ROWS = (
    Row(
        name="directory records",
        where="fleet/directory/node_record.py",
        who="writers of Redis",
        largest=VALUE_BYTES,
        steps=6_000,
        becomes="counted as unreadable; the record is left out",
        open=made(_directory),
        seeds=_RECORDS,
        worst=_records,
        mutate=words((*JSON_WORDS, b'"trunk"', b'"a:1"', b'"[::1]:1"'), JSON_BREAKS, _RECORDS),
        weight=4,
    ),
    Row(
        name="recovery answers",
        where="relay/supervisor/flow_store.py",
        who="writers of Redis",
        largest=VALUE_BYTES,
        steps=2_000,
        becomes="counted as unreadable; the owner is not known",
        open=made(_flows),
        seeds=_OWNERS,
        worst=repeated(b"A", b"1.", b"\xff", head=b"1."),
        weight=8,
    ),
    Row(
        name="limits in Redis",
        where="fleet/limits/redis_ledger.py",
        who="writers of Redis",
        largest=VALUE_BYTES,
        steps=6_000,
        becomes="counted as unreadable; the limits of the settings hold",
        open=made(_ledger),
        seeds=tuple(b"1700000000000 " + rule for rule in _RULES),
        worst=repeated(b"A", b"1.", b"calls=1 ", head=b"1 "),
        mutate=_RULE_WORDS,
        weight=4,
    ),
    Row(
        name="checkpoints",
        where="transceiver/recovery/checkpoint.py",
        who="writers of Redis",
        largest=VALUE_BYTES,
        steps=6_000,
        becomes="counted by reason; the call is taken by somebody else, or by nobody",
        open=made(_checkpoints),
        seeds=_CHECKPOINTS,
        worst=_records,
        mutate=words((*JSON_WORDS, b'"ssrc"', b'"version":2'), JSON_BREAKS, _CHECKPOINTS),
        weight=4,
    ),
    Row(
        name="limits",
        where="fleet/limits/rules.py",
        who="operators",
        largest=VALUE_BYTES,
        steps=6_000,
        becomes="one line that names the rule",
        open=plain(_limits),
        seeds=_RULES,
        worst=repeated(b"a=1 ", b"calls=1 ", b";", b"key/*: calls=1;", b"key/a", b"="),
        mutate=_RULE_WORDS,
        weight=6,
    ),
)
