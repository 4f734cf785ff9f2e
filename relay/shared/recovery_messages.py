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
from wire.address import ADDRESS_BYTES

ADDRESSES_PER_MESSAGE = 256  # some 10 KB, well below control.MAX_MESSAGE_BYTES
OWNERS, ASK, SIBLINGS = "owners", "ask", "siblings"


def siblings_message(tables: Iterable[Table]) -> Message:
    """Tables to read; their descriptors go beside it."""
    return {SIBLINGS: [[table.capacity, table.until_ms] for table in tables]}


def questions_message(addresses: Iterable[bytes]) -> Message:
    """Ask the supervisor who owns these."""
    return {ASK: [address.hex() for address in addresses]}


def read_questions(message: Message) -> list[bytes] | None:
    """The addresses asked about; None when the message is about something else.

    Raises ValueError for what are no addresses, or too many.
    """
    asked = message.get(ASK)
    if asked is None:
        return None
    if not isinstance(asked, list) or len(asked) > ADDRESSES_PER_MESSAGE:
        raise ValueError("no list of addresses")
    return [_address(text) for text in asked]


def _address(text: object) -> bytes:
    address = bytes.fromhex(text) if isinstance(text, str) else b""
    if len(address) != ADDRESS_BYTES:
        raise ValueError("no address")
    return address


def owners_message(owners: Mapping[bytes, FlowOwner | None]) -> Message:
    """What the supervisor found; None says that nobody has the address."""
    return {OWNERS: {address.hex(): owner for address, owner in owners.items()}}
