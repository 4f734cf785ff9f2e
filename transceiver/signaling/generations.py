"""ICE generations of a call and their entity tags (RFC 9725 §4.3.1).

A tag names one pair of ICE sessions, ours and the caller's; a restart makes a new one. It is a
digest, so that what intermediaries log of it opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from weakref import WeakKeyDictionary

from transceiver.signaling.intake import CallSession, no_such_call

ANY_TAG = "*"


@dataclass(frozen=True)
class Generation:
    """Both sides' credentials in use, and the tag of the pair (with its quotes)."""

    local_ufrag: str = field(repr=False)
    local_password: str = field(repr=False)
    remote_ufrag: str = field(repr=False)
    remote_password: str = field(repr=False)

    @property
    def tag(self) -> str:
        """The entity tag, strong."""
        names = f"{self.local_ufrag}:{self.remote_ufrag}".encode()
        return f'"{blake2s(names, digest_size=8).hexdigest()}"'


class Generations:
    """The current generation of every live call; forgets a call when the call is gone."""

    def __init__(self) -> None:
        self._restarted: WeakKeyDictionary[CallSession, Generation] = WeakKeyDictionary()

    def __len__(self) -> int:
        """How many live calls were restarted."""
        return len(self._restarted)

    def of(self, session: CallSession) -> Generation:
        """The current generation: that of the offer until a restart."""
        offer = session.offer
        return self._restarted.get(session) or Generation(
            session.local_ufrag, session.local_password, offer.ufrag, offer.password
        )

    def restart(self, session: CallSession, remote_ufrag: str, remote_password: str) -> Generation:
        """Restart ICE with the caller's new credentials; returns the new generation.

        Raises Problem no_such_call when the call failed over it.
        """
        ours = session.restart_ice(remote_ufrag, remote_password)
        if ours is None:
            raise no_such_call()
        self._restarted[session] = Generation(*ours, remote_ufrag, remote_password)
        return self._restarted[session]


def matches(if_match: str, tag: str) -> bool:
    """Whether an If-Match header names `tag` or is `*` (RFC 9110 §13.1.1)."""
    return if_match.strip() == ANY_TAG or tag in (given.strip() for given in if_match.split(","))
