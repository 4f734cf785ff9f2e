"""Small damage to packets, as networks, broken clients and attackers do it."""

from __future__ import annotations

import random


def mutate(chance: random.Random, packet: bytes) -> bytes:
    """One to four byte flips, cuts, insertions or repeats; at most 2000 bytes."""
    data = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 3 if data:
                data[at % len(data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case _:
                data += data[:at][:200]
    return bytes(data[:2000])
