"""What a row of the table in docs/security.md is: a parser that somebody outside can reach.

One list of rows (`tests.fuzz.rows`) makes the table, the tests of bounded work and the fuzzers.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from tests.fuzz.mutation import Mutator, mutate

Reader = Callable[[bytes], object]
Opening = Callable[[], AbstractAsyncContextManager[Reader]]
Worst = Callable[[int], Iterable[bytes]]
"""The inputs of about so many bytes that cost a parser of this kind the most."""


@dataclass(frozen=True)
class Row:
    """A parser; `open` makes a reader with fresh state, within a running event loop.

    `steps` is what the largest input may cost, in instructions of the interpreter. `refusals` are
    the exceptions that are documented; whatever else leaves the reader is a fault.
    """

    name: str
    where: str
    who: str
    largest: int
    steps: int
    becomes: str
    open: Opening
    seeds: Sequence[bytes]
    worst: Worst
    work: str = "O(n)"
    refusals: tuple[type[BaseException], ...] = ()
    mutate: Mutator = field(default=mutate, repr=False)
    weight: int = 1
    """How much of a run over all rows is this row's."""
    renew_after: int = 5_000
    """Inputs until the next reader: states that pile up are tried, and are not all there is."""

    def inputs(self, chance: random.Random) -> Callable[[], bytes]:
        """A source of inputs: seeds with damage, now and then as they are."""
        seeds, damage, largest = self.seeds, self.mutate, self.largest
        choice, number = chance.choice, chance.random

        def one() -> bytes:
            seed = choice(seeds)
            return damage(chance, seed)[:largest] if number() < 0.95 else seed

        return one


def plain(function: Reader) -> Opening:
    """The opening of a reader that keeps nothing."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Reader]:
        yield function

    return opened


def made(make: Callable[[], Reader]) -> Opening:
    """The opening of a reader that is made anew each time and needs no closing."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Reader]:
        yield make()

    return opened


def text_of(data: bytes) -> str:
    """Any text there can be, surrogates as in an environment variable among it."""
    return data.decode("utf-8", "surrogateescape")


def repeated(*pieces: bytes, head: bytes = b"", tail: bytes = b"") -> Worst:
    """Shapes that say one piece again and again, up to the size."""

    def shapes(size: int) -> Iterable[bytes]:
        room = size - len(head) - len(tail)
        return [head + piece * max(1, room // len(piece)) + tail for piece in pieces]

    return shapes


def together(*shapes: Worst) -> Worst:
    """All the inputs of several shapes."""
    return lambda size: [data for shape in shapes for data in shape(size)]
