"""What a traceback or a log may print of a value shows no secret, no address and no word said."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import transceiver
from tests.transceiver.caller import make_offer
from transceiver.transport.ice import AddressLearned, Credentials

# Names of fields that hold such a thing, wherever they stand.
PRIVATE = {
    *("password", "local_password", "remote_password", "ufrag", "local_ufrag", "remote_ufrag"),
    *("session_json", "address", "selected", "relay", "remote", "local", "keys"),
    *("data", "text", "binary", "content", "payload", "queue", "answer", "secret", "key"),
}
# Of these types, a value says nothing by itself, or hides it as well.
HARMLESS = {"SrtpPart", "SrtpKeys", "DataOffer | None", "Address"}
ROOMS = (
    *("call", "transport", "data", "rtp", "opus", "link", "engine", "takeover"),
    *("moves", "record", "recovery", "restore"),
)


def dataclasses_of(room: str) -> Iterator[type[Any]]:
    package = importlib.import_module(f"transceiver.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"transceiver.{room}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.name:
                yield value


@pytest.mark.parametrize("room", ROOMS)
def test_no_dataclass_shows_a_private_field(room: str) -> None:
    """By the name of the field; what holds one is `repr=False`."""
    shown = [
        f"{kind.__name__}.{field.name}"
        for kind in dataclasses_of(room)
        for field in fields(kind)
        if field.repr and field.name in PRIVATE and str(field.type) not in HARMLESS
    ]
    assert shown == []


def test_an_offer_and_its_credentials_print_no_secret() -> None:
    """The values themselves, not only their classes."""
    offer = make_offer()
    assert offer.password not in repr(offer) and "caller" not in repr(offer)
    credentials = Credentials("our-ufrag", "our-password", "their-ufrag", "their-password")
    assert repr(credentials) == "Credentials()"
    assert repr(AddressLearned(b"192.0.2.1")) == "AddressLearned()"


def test_every_room_of_calls_is_looked_at() -> None:
    """A new room is private too, until it is named here."""
    found = {module.name for module in pkgutil.iter_modules(transceiver.__path__) if module.ispkg}
    assert found == {*ROOMS, "pod", "signaling"}
