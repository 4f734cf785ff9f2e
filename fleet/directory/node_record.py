"""A node as it stands in the store: JSON with fixed fields, sealed by its owner.

The index, the epoch and the time are inside the seal, so that a record of one node cannot stand for
another, nor one of an earlier owner for the present one (`fleet.directory`). Pure.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from fleet.directory.directory import Load, Node
from fleet.seal import BrokenSeal, Seal, fresh
from trunkline.process.address import Address

PURPOSE = "directory"


class UnreadableRecord(ValueError):  # noqa: N818 - says what happened
    """Not sealed by this fleet, too old, or of another version."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    index: int
    epoch: int
    at_ms: int
    trunk: str
    name: str
    draining: bool
    live: bool
    admin: str | None = None
    http: str | None = None
    load: tuple[int, int] | None = None


def seal_node(seal: Seal, node: Node) -> str:
    """The node as the store keeps and publishes it."""
    fields: dict[str, Any] = {
        "index": node.index,
        "epoch": node.epoch,
        "at_ms": node.at_ms,
        "trunk": str(node.trunk),
        "name": node.name,
        "draining": node.draining,
        "live": node.live,
        "admin": str(node.admin) if node.admin else None,
        "http": str(node.http) if node.http else None,
        "load": [node.load.calls, node.load.capacity] if node.load else None,
    }
    return seal.seal(PURPOSE.encode(), json.dumps(fields).encode())


def open_node(seal: Seal, sealed: object, now_ms: int) -> Node:
    """The node in a sealed record of less than half a minute ago. Raises UnreadableRecord."""
    try:
        record = _Record.model_validate_json(seal.open(PURPOSE.encode(), sealed))
        node = Node(
            index=record.index,
            epoch=record.epoch,
            trunk=Address.parse(record.trunk),
            name=record.name,
            draining=record.draining,
            live=record.live,
            admin=Address.parse(record.admin) if record.admin else None,
            load=Load(*record.load) if record.load else None,
            http=Address.parse(record.http) if record.http else None,
            at_ms=record.at_ms,
        )
    except BrokenSeal as error:
        raise UnreadableRecord(str(error)) from None
    except (ValidationError, ValueError):
        raise UnreadableRecord("a record of another version") from None
    if not fresh(record.at_ms, now_ms):
        raise UnreadableRecord("a record of another time")
    return node
