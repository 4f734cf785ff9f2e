"""What operators write: variables, addresses, keys, requests on an admin port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Annotated, Any

from google.protobuf.message import DecodeError
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from backends.settings import BackendSettings
from fleet.admin.access import AdminAccess, AdminToken, Caller, Denied, bearer
from fleet.admin.call_pages import BadPage, page_of
from fleet.admin.operator import BadDeadline, BadKeys, BadWhy, deadline, host_of, key_ring, why
from fleet.admin.tls import read_operator
from fleet.redis_link import RedisLink
from fleet.settings import ProcessSettings
from fleet.usage import complaints
from relay.settings import RelaySettings
from tests.fuzz.mutation import words
from tests.fuzz.row import Row, plain, repeated, text_of
from transceiver.settings import TransceiverSettings
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2

VARIABLE_BYTES = 8 * 1024
REQUEST_BYTES = 64 * 1024
_HEX = "ab" * 32
_NEEDED = {
    "token_keys": f"1:{_HEX}",
    "trunk_keys": f"1:{_HEX}",
    "redis_url": "redis://127.0.0.1:6379/0",
    "transceiver_api_keys": "k",
    "transceiver_relays": "192.0.2.1:3478",
    "transceiver_backends": "echo=127.0.0.1:9301",
}
_CLASSES: tuple[type[ProcessSettings], ...] = (RelaySettings, TransceiverSettings, BackendSettings)
_FIELDS = [(kind, name) for kind in _CLASSES for name in kind.model_fields]


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    constraints = tuple(field.metadata)
    return TypeAdapter(
        Annotated[field.annotation, *constraints] if constraints else field.annotation  # type: ignore[arg-type]
    )


_ADAPTERS = [_adapter(kind.model_fields[name]) for kind, name in _FIELDS]
_TOKENS = AdminAccess([AdminToken.parse("operator:ann:0123456789abcdef")])


def _alone(adapter: TypeAdapter[Any], text: str) -> None:
    try:
        adapter.validate_python(text)
    except ValidationError as error:
        assert error.errors(include_input=False)


def _variable(data: bytes) -> None:
    """The first byte chooses the variable; the rest is its value."""
    number = data[0] % len(_FIELDS) if data else 0
    kind, name = _FIELDS[number]
    if len(data) % 64:  # by itself, which is a hundred times faster
        _alone(_ADAPTERS[number], text_of(data[1:]))
        return
    needed = {key: value for key, value in _NEEDED.items() if key in kind.model_fields}
    try:
        kind(**{**needed, name: text_of(data[1:])})  # type: ignore[arg-type]
    except ValidationError as error:
        assert complaints(kind, error)


def _text(data: bytes) -> None:
    """Every other text of an operator that is read by a rule."""
    text = text_of(data)
    readers: tuple[tuple[Callable[[], object], type[Exception]], ...] = (
        (lambda: RedisLink(text), ValueError),
        (lambda: key_ring(text, "token_keys"), BadKeys),
        (lambda: why(text), BadWhy),
        (lambda: _TOKENS.identify(Caller("", bearer(text))), Denied),
        (lambda: host_of(text), ValueError),
        (lambda: Address.parse(text), ValueError),
        (lambda: page_of([], text, 0), BadPage),
    )
    for read, refusal in readers:
        with contextlib.suppress(refusal):
            read()


_REQUESTS: tuple[Any, ...] = (
    admin_pb2.ListCallsRequest(page_size=5, page_token="1.rtc_x"),
    admin_pb2.EndCallRequest(call_id="rtc_x", why="because"),
    admin_pb2.DrainRequest(deadline_s=5, why="because"),
    admin_pb2.RotateKeysRequest(token_keys=f"1:{_HEX}", why="because"),
    admin_pb2.ChangeLimitsRequest(subject="key/*", limits="calls=1", why="because"),
)


def _request(data: bytes) -> None:
    """A request of each kind, as far as it is read before anything is done."""
    for kind in map(type, _REQUESTS):
        try:
            request = kind.FromString(data)  # type: ignore[attr-defined]
        except DecodeError:
            continue
        try:
            why(getattr(request, "why", ""))
            deadline(getattr(request, "deadline_s", 0))
            page_of([], getattr(request, "page_token", ""), getattr(request, "page_size", 0))
            key_ring(getattr(request, "token_keys", ""), "token_keys")
        except (BadWhy, BadDeadline, BadPage, BadKeys):
            pass


def _certificate(data: bytes) -> None:
    read_operator(data)


_PIECES = (b":", b"a:1,", b"1", b"=", b"/", b";", b"[", b"@", b"a.")
_VALUES = (
    *(b"127.0.0.1:8080", b"[::1]:1", b"info", b"true", b"100", b"0.5", b"a=192.0.2.1:1*2,b=c:3"),
    *(
        b"redis+sentinel://u:p@a:1,b/s/0",
        b"1:" + _HEX.encode(),
        b"https://a:1,*",
        b"key/*: calls=1",
    ),
    *(b"operator:ann:0123456789abcdef", b"/etc/passwd", b"10.0.0.0/8"),
)

ROWS = (
    Row(
        name="settings",
        where="fleet/settings.py",
        who="operators",
        largest=VARIABLE_BYTES,
        steps=400_000,
        becomes="one line that names the variable, and exit status 2",
        open=plain(_variable),
        seeds=tuple(bytes((n,)) + v for n in range(len(_FIELDS)) for v in _VALUES),
        worst=lambda size: [
            bytes((n,)) + piece * ((size - 1) // len(piece))
            for n in range(len(_FIELDS))
            for piece in (b",", _PIECES[n % len(_PIECES)])
        ],
        mutate=words((*_VALUES, b",", b"-1", b"9" * 30, b"\xc2\xb2", b"\x00"), b" ,;:=/@[]"),
        weight=2,
    ),
    Row(
        name="operators' texts",
        where="fleet/admin/operator.py",
        who="operators",
        largest=VARIABLE_BYTES,
        steps=500_000,
        becomes="one line, or a gRPC status with the rule",
        open=plain(_text),
        seeds=(*_VALUES, b"Bearer 0123456789abcdef", b"ipv6:%5B::1%5D:5", b"1.rtc_x"),
        worst=repeated(b",", b":", b"1:a,", b"@", b"%", b"[", b"a.", b"1", b" ", b"\xff"),
        mutate=words((*_VALUES, b"%", b"\xd9\xa1"), b" ,;:=/@[]%"),
        weight=3,
    ),
    Row(
        name="admin requests",
        where="fleet/admin/server.py",
        who="whoever reaches an admin port",
        largest=REQUEST_BYTES,
        steps=6_000,
        becomes="a gRPC status with the rule",
        open=plain(_request),
        seeds=tuple(request.SerializeToString() for request in _REQUESTS),
        worst=lambda size: (
            [type(r)(why="x" * size).SerializeToString() for r in _REQUESTS[1:4]]
            + [b"\x08\x05" * (size // 2)]
        ),
        weight=4,
    ),
    Row(
        name="clients' certificates",
        where="fleet/admin/tls.py",
        who="whoever TLS let in",
        largest=REQUEST_BYTES,
        steps=1_000,
        becomes="nobody's: the call is refused",
        open=plain(_certificate),
        seeds=(b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        worst=repeated(b"-----BEGIN CERTIFICATE-----\n", b"A", b"\n"),
        weight=3,
    ),
)
