"""What is asked of the whole fleet: every node the directory knows, every relay and
backend that was named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cli.reach import CliError, Process, Reach
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2

Found = TypeVar("Found")


@dataclass(frozen=True)
class Heard(Generic[Found]):
    """What one process answered, or why it did not."""

    name: str
    address: Address | None
    answer: Found | None = None
    problem: str = ""


async def nodes(reach: Reach) -> list[admin_pb2.Node]:
    """The directory. Raises CliError."""
    async with reach.process(reach.transceiver) as process:
        return await process.nodes()


async def find_node(reach: Reach, wanted: str) -> admin_pb2.Node:
    """The node of a name or an index. Raises CliError when there is none, or it says no address."""
    known = await nodes(reach)
    found = [node for node in known if wanted in (node.name, str(node.index))]
    if not found:
        names = ", ".join(node.name for node in known) or "none"
        raise CliError(f"no node {wanted}; there are: {names}")
    if not found[0].admin:
        raise CliError(f"node {wanted} does not say where its admin port is")
    return found[0]


async def find_process(reach: Reach, wanted: str) -> Address:
    """Where the admin port of a transceiver or of a named backend is. Raises CliError."""
    for backend in reach.backends:
        if wanted == str(backend):
            return backend
    return Address.parse((await find_node(reach, wanted)).admin)


async def ask_nodes(
    reach: Reach, question: Callable[[Process], Awaitable[Found]]
) -> list[Heard[Found]]:
    """Put a question to every live node at once."""
    live = [node for node in await nodes(reach) if node.live]
    places = [(node.name, Address.parse(node.admin) if node.admin else None) for node in live]
    return await _ask(reach, places, question)


async def ask_relays(
    reach: Reach, question: Callable[[Process], Awaitable[Found]]
) -> list[Heard[Found]]:
    """Put a question to every relay at once."""
    return await _ask(reach, [(str(relay), relay) for relay in reach.relays], question)


async def ask_backends(
    reach: Reach, question: Callable[[Process], Awaitable[Found]]
) -> list[Heard[Found]]:
    """Put a question to every backend at once."""
    return await _ask(reach, [(str(backend), backend) for backend in reach.backends], question)


async def _ask(
    reach: Reach,
    places: Sequence[tuple[str, Address | None]],
    question: Callable[[Process], Awaitable[Found]],
) -> list[Heard[Found]]:
    async def ask(name: str, address: Address | None) -> Heard[Found]:
        if address is None:
            return Heard(name, None, problem="does not say where its admin port is")
        try:
            async with reach.process(address) as process:
                return Heard(name, address, await question(process))
        except CliError as error:
            return Heard(name, address, problem=str(error))

    return list(await asyncio.gather(*(ask(name, address) for name, address in places)))
