"""No value shows a secret, an address of a caller, or what was said, however it is printed."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fleet.admin.access import AdminToken, Caller
from fleet.redacted_types import ClientAddress, Secret, Transcript, Ufrag
from fleet.redis_url import parse_sentinel
from relay.settings import RelaySettings
from relay.supervisor.worker_settings import first_orders
from transceiver.settings import TransceiverSettings
from wire.keys import KeyRing

PACKAGES = ("wire", "datagram", "fleet", "relay", "transceiver", "launcher", "cli", "trunkline")
SECRET = re.compile(
    r"(^|_)(password|pwd|secret|tokens?|keys?|ufrag|username|authorization|cookie|sdp|"
    r"session_json|instructions|prompt|transcript|utterance|salt|master)$"
)
PERSONAL = re.compile(r"(^|_)(address|client|remote|peer)$")
# Types that cannot hold a secret, or print none by themselves.
HARMLESS = re.compile(
    r"^(int|float|bool|Path|KeyRing|SecretStr|SecretList|SrtpKeys|Serial32|Sequence16|AdminToken|"
    r"Address|Secret|Ufrag|ClientAddress|Transcript|tuple\[AdminToken, \.\.\.\])( \| None)?$"
)
BYTES = re.compile(r"^(bytes|Octets|str)( \| None)?$")
EXPLAINED = {
    ("Page", "next_token"),  # of a page of calls: the id of the last one
    ("Part", "address"),  # of a process on this machine
}


def shown_fields() -> Iterator[tuple[str, str, str]]:
    """Class, field and type of whatever a dataclass or a named tuple of ours prints."""
    for kind in _classes():
        if dataclasses.is_dataclass(kind):
            for field in dataclasses.fields(kind):
                if field.repr and "__repr__" in vars(kind):
                    yield f"{kind.__module__}.{kind.__qualname__}", field.name, str(field.type)
        elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
            for name, annotation in kind.__annotations__.items():
                text = getattr(annotation, "__forward_arg__", str(annotation))
                yield f"{kind.__module__}.{kind.__qualname__}", name, text


def _classes() -> Iterator[type]:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                module = importlib.import_module(found.name)
                for value in vars(module).values():
                    if isinstance(value, type) and value.__module__ == found.name:
                        yield value


def test_no_field_that_is_printed_holds_a_secret() -> None:
    """Whoever adds one says `repr=False`, or gives it a type that prints nothing."""
    fields = list(shown_fields())
    assert len(fields) > 300
    open_ones = [
        (kind, name, annotation)
        for kind, name, annotation in fields
        if (kind.rpartition(".")[2], name) not in EXPLAINED
        and not HARMLESS.match(annotation)
        and (SECRET.search(name) or (PERSONAL.search(name) and BYTES.match(annotation)))
    ]
    assert open_ones == []


KEY = "ab" * 32
PARTS = ("hunter2", KEY, "\\xab" * 4, "tl-secret-key", "203.0.113.7", "spoken words", "1A2B3C4D5E")
COMMON: dict[str, Any] = {
    "token_keys": f"1:{KEY}",
    "trunk_keys": f"2:{KEY}",
    "redis_url": "redis://user:hunter2@redis.example:6379/0",
    "admin_tokens": "operator:ann:hunter2-hunter2-hunter2",
}


def values() -> list[Any]:
    relay = RelaySettings(**COMMON)
    transceiver = TransceiverSettings(
        **COMMON, transceiver_relays="192.0.2.1:3478", transceiver_api_keys="tl-secret-key"
    )
    return [
        relay,
        transceiver,
        first_orders(relay, 1),
        KeyRing.parse(f"1:{KEY}"),
        AdminToken.parse("operator:ann:hunter2-hunter2-hunter2"),
        Caller("127.0.0.1", "hunter2"),
        parse_sentinel("redis+sentinel://user:hunter2@host:26379/service/0"),
        Secret("hunter2"),
        ClientAddress("203.0.113.7"),
        Ufrag("1A2B3C4D5E6F7G8H9J0K1M2N"),
        Transcript("spoken words"),
    ]


@pytest.mark.parametrize("value", values(), ids=lambda value: type(value).__name__)
def test_no_way_of_printing_shows_a_secret(value: Any) -> None:
    """repr, str, format, and inside a container."""
    texts = [repr(value), str(value), f"{value}", f"{value!r:>10}", f"{value:}", repr([value])]
    texts.append(repr({"value": value}))
    assert not [part for part in PARTS for text in texts if part in text]
