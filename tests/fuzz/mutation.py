"""Damage to packets and texts, as networks, broken clients and attackers do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Mutator = Callable[[random.Random, bytes], bytes]
MAX_BYTES = 2000
_WILD = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(chance: random.Random, packet: bytes) -> bytes:
    """One to four byte flips, cuts, insertions or repeats; at most 2000 bytes."""
    data = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        _damage(chance, data)
    return bytes(data[:MAX_BYTES])


def _damage(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        case 1:
            del data[at : at + chance.randint(1, 40)]
        case 2:
            data[at:at] = chance.randbytes(chance.randint(1, 40))
        case 3 if data:
            data[at % len(data)] = chance.choice(_WILD)
        case _:
            data += data[:at][:200]


def words(tokens: Sequence[bytes], breaks: bytes, others: Sequence[bytes] = ()) -> Mutator:
    """Damage to a text: words of its language put in, cut out, said twice, joined with others.

    `breaks` are the bytes between which a word stands; `others` are texts to take a tail from.
    """

    def damage(chance: random.Random, text: bytes) -> bytes:
        data = bytearray(text)
        for _ in range(chance.randint(1, 3)):
            _one(chance, data)
        return bytes(data[: 32 * MAX_BYTES])

    def _one(chance: random.Random, data: bytearray) -> None:
        start, end = _word(chance, data, breaks)
        match chance.randrange(7):
            case 0:
                _damage(chance, data)
            case 1:
                data[start:end] = chance.choice(tokens)
            case 2:
                data[start:start] = chance.choice(tokens)
            case 3:
                del data[start:end]
            case 4:
                data[start:start] = data[start:end] * chance.choice((1, 2, 9))
            case 5 if others:
                other = chance.choice(others)
                data[start:] = other[chance.randrange(len(other) + 1) :]
            case _:
                other_start, other_end = _word(chance, data, breaks)
                data[start:end] = data[other_start:other_end]

    return damage


def _word(chance: random.Random, data: bytearray, breaks: bytes) -> tuple[int, int]:
    """Where the word around a place chosen by chance begins and ends."""
    if not data:
        return 0, 0
    at = chance.randrange(len(data))
    start = end = at
    while start and data[start - 1] not in breaks and at - start < 64:
        start -= 1
    while end < len(data) and data[end] not in breaks and end - at < 64:
        end += 1
    return start, end
