"""Who looks at a suspicion first, so that not every process of a fleet asks the same one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from fleet.calls.owner import Owner

WITNESSES = 3  # who ask at once: one of them may be about to die as well
LATER_S = 0.5  # the others ask after that, if nobody has fenced it by then


def waits_s(lost: Owner, me: Owner, live: Iterable[Owner]) -> float:
    """How long to wait before asking: the same order of processes everywhere, another for each."""
    before = sum(_place(lost, other) < _place(lost, me) for other in live if other != lost)
    return 0.0 if before < WITNESSES else LATER_S


def _place(lost: Owner, owner: Owner) -> bytes:
    return blake2b(f"{lost} {owner}".encode(), digest_size=8).digest()
