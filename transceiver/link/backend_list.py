"""The backends an operator names: `echo=127.0.0.1:9301*3,voice=voice.svc:9302`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainValidator

from trunkline.process.address import Address, shown

MAX_BACKENDS = 16
LARGEST_WEIGHT = 1000
MAX_NAME_CHARS = 64

_ITEM = re.compile(
    rf"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}})=(?P<address>[^*]+)"
    r"(?:\*(?P<weight>[0-9]{1,4}))?"
)


@dataclass(frozen=True)
class BackendAddress:
    """One backend: the name callers may ask for, where it is, and its share of other calls.

    Weight 0 means that only callers who ask for it by name get it.
    """

    name: str
    address: Address
    weight: int = 1

    @classmethod
    def parse(cls, text: str) -> BackendAddress:
        """Read `name=host:port` or `name=host:port*weight`. Raises ValueError with one sentence."""
        match = _ITEM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{shown(text)} is not NAME=host:port or NAME=host:port*WEIGHT")
        weight = int(match["weight"] or 1)
        if weight > LARGEST_WEIGHT:
            raise ValueError(f"the weight {weight} is above {LARGEST_WEIGHT}")
        return cls(match["name"], Address.parse(match["address"]), weight)

    def __str__(self) -> str:
        return f"{self.name}={self.address}*{self.weight}"


def _backends(value: Any) -> tuple[BackendAddress, ...]:
    items = value.split(",") if isinstance(value, str) else tuple(value)
    backends = tuple(i if isinstance(i, BackendAddress) else BackendAddress.parse(i) for i in items)
    names = {backend.name for backend in backends}
    if not 1 <= len(names) == len(backends) <= MAX_BACKENDS:
        raise ValueError(f"1 to {MAX_BACKENDS} backends, each name once, separated by commas")
    return backends


BackendList = Annotated[tuple[BackendAddress, ...], PlainValidator(_backends)]
"""1 to 16 backends with different names."""
