"""Rotation of the fleet's keys without dropping a call.

    1  every process learns the new key; everybody still signs with the old one
    2  every process signs with the new one; the old one is still understood
    3  later, when nothing signed with it is left: `trunkline keys retire`

Step 2 never begins before all have done step 1. Keys cannot be read back from processes, so the
ring comes from the operator's environment, and goes to a file only its owner can read.
"""

from __future__ import annotations

import os
import secrets
from enum import Enum
from pathlib import Path

from cli.fleet_view import ask_nodes, ask_relays
from cli.reach import CliError, Process, Reach
from cli.tables import problems
from fleet.admin.operator import BadKeys, key_ids, key_ring
from trunkline.v1 import admin_pb2
from wire.keys import KEY_BYTES, KeyRing

MAX_KEYS = 16


class Ring(Enum):
    """Which of the two key rings."""

    TOKEN = "token"  # noqa: S105 - a name
    TRUNK = "trunk"

    @property
    def variable(self) -> str:
        """The setting that has it."""
        return f"TRUNKLINE_{self.value.upper()}_KEYS"


def read_ring(ring: Ring, text: str) -> KeyRing:
    """The ring in a variable's text. Raises CliError, which never quotes it."""
    try:
        return key_ring(text, ring.variable)
    except BadKeys as error:
        raise CliError(f"{error}; set {ring.variable} to the ring that the fleet has") from None


def with_new_key(ring: KeyRing) -> KeyRing:
    """The ring with one more key, which is not current yet. Raises CliError when it is full."""
    free = next((number for number in range(MAX_KEYS) if number not in ring.keys), None)
    if free is None:
        raise CliError("the ring has 16 keys already; retire some first")
    return KeyRing(ring.current, {**ring.keys, free: secrets.token_bytes(KEY_BYTES)})


def made_current(ring: KeyRing, known_before: KeyRing) -> KeyRing:
    """The ring with its new key in use."""
    (new,) = set(ring.keys) - set(known_before.keys)
    return KeyRing(new, ring.keys)


def without_old(ring: KeyRing) -> KeyRing:
    """The ring with its current key alone."""
    return KeyRing(ring.current, {ring.current: ring.keys[ring.current]})


def write_ring(path: Path, ring: KeyRing) -> None:
    """Write the ring for its owner's eyes only, before anything is changed. Raises CliError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CliError(f"{path}: {(error.strerror or 'cannot be written').lower()}") from None
    with os.fdopen(handle, "w") as file:
        file.write(ring.export() + "\n")


async def check_same(reach: Reach, ring: Ring, known: KeyRing) -> None:
    """Raise CliError unless every process has the keys that the operator has, by their ids."""
    expected = key_ids(known)

    async def question(process: Process) -> list[int]:
        look = admin_pb2.RotateKeysRequest(why=f"looking which {ring.value} keys there are")
        found = await process.rotate(look)
        return list(found.token_key_ids if ring is Ring.TOKEN else found.trunk_key_ids)

    heard = [*await ask_nodes(reach, question), *await ask_relays(reach, question)]
    different = [h.name for h in heard if h.answer is not None and h.answer != expected]
    if lines := problems(heard):
        raise CliError("; ".join(lines))
    if different:
        raise CliError(
            f"{', '.join(different)}: has other keys than {ring.variable} here (ids {expected})"
        )


async def push(reach: Reach, ring: Ring, keys: KeyRing, why: str) -> int:
    """Give a ring to every process; how many. Raises CliError when one did not take it."""
    request = admin_pb2.RotateKeysRequest(why=why)
    setattr(request, f"{ring.value}_keys", keys.export())

    async def give(process: Process) -> bool:
        await process.rotate(request)
        return True

    heard = [*await ask_relays(reach, give), *await ask_nodes(reach, give)]
    if lines := problems(heard):
        raise CliError("not every process took the keys: " + "; ".join(lines))
    return len(heard)
