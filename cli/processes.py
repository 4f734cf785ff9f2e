"""The kinds of processes, for commands that any of them understands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from cli.fleet_view import Heard, ask_backends, ask_nodes, ask_relays
from cli.reach import CliError, Process, Reach
from trunkline.process.address import Address

Found = TypeVar("Found")


class Kind(Enum):
    """What a process is."""

    TRANSCEIVER = "transceiver"
    RELAY = "relay"
    BACKEND = "backend"


async def ask(
    reach: Reach, kind: Kind, question: Callable[[Process], Awaitable[Found]]
) -> list[Heard[Found]]:
    """Put a question to every process of a kind at once. Raises CliError."""
    match kind:
        case Kind.TRANSCEIVER:
            return await ask_nodes(reach, question)
        case Kind.RELAY:
            return await ask_relays(reach, question)
        case Kind.BACKEND:
            return await ask_backends(reach, question)


def first_of(reach: Reach, kind: Kind) -> Address:
    """Where the first process of a kind is. Raises CliError when none is named."""
    places = {
        Kind.TRANSCEIVER: (reach.transceiver,),
        Kind.RELAY: reach.relays,
        Kind.BACKEND: reach.backends,
    }[kind]
    if not places:
        raise CliError(f"no {kind.value} is named; see trunkline --help")
    return places[0]
