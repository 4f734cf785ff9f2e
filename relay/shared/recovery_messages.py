"""What supervisor and workers say to each other about flows that a worker does not have.

Over the control channel, addresses as 36 hex digits:

    worker → supervisor   {"ask": [address, …]}
    supervisor → worker   {"owners": {address: [node, epoch] or null, …}}
                          {"siblings": [[capacity, until_ms], …]}, a descriptor each
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from relay.shared.control import Message
from relay.shared.memory import Table
from relay.shared.nodes import FlowOwner

ADDRESSES_PER_MESSAGE = 256  # some 10 KB, well below control.MAX_MESSAGE_BYTES
OWNERS, ASK, SIBLINGS = "owners", "ask", "siblings"


def siblings_message(tables: Iterable[Table]) -> Message:
    """Tables to read; their descriptors go beside it."""
    return {SIBLINGS: [[table.capacity, table.until_ms] for table in tables]}


def questions_message(addresses: Iterable[bytes]) -> Message:
    """Ask the supervisor who owns these."""
    return {ASK: [address.hex() for address in addresses]}


def read_questions(message: Message) -> list[bytes] | None:
    """The addresses asked about; None when the message is about something else."""
    asked: list[str] | None = message.get(ASK)
    return None if asked is None else [bytes.fromhex(address) for address in asked]


def owners_message(owners: Mapping[bytes, FlowOwner | None]) -> Message:
    """What the supervisor found; None says that nobody has the address."""
    return {OWNERS: {address.hex(): owner for address, owner in owners.items()}}
