"""The claims of one call: each of its ufrags, each address of its caller."""

from __future__ import annotations

from itertools import zip_longest

from transceiver.takeover.session_state import IceState, SessionState
from wire.claim import NOBODY, NOWHERE, Claim


def claims_of(state: SessionState, owner: int, fenced: int = NOBODY) -> tuple[Claim, ...]:
    """What the owner of a call says of it to relay workers; what matters most comes first."""
    ice = state.ice
    ufrags = [generation.local_ufrag for generation in (ice.current, ice.pending) if generation]
    addresses = sorted((path.address for path in ice.paths), key=lambda a: a != ice.selected)
    pairs = zip_longest(ufrags, addresses)
    return tuple(
        Claim(ufrag or ufrags[0], owner, fenced, address or NOWHERE) for ufrag, address in pairs
    )


def workers_of(ice: IceState) -> tuple[bytes, ...]:
    """The relay workers that hear the caller."""
    return tuple(dict.fromkeys(path.relay for path in ice.paths if path.relay))
