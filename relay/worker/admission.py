"""Decides whether a first packet may make a flow.

A sender who never got an answer over HTTPS knows no ufrag of ours, so the token's MAC fails. A
sender who saw a ufrag pass by does not have the password, so MESSAGE-INTEGRITY fails. Both are
checked from the packet and the key alone, without state and without a look-up (`wire.token`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wire import stun, token
from wire.errors import WireError
from wire.keys import KeyRing
from wire.token import Route


@dataclass(frozen=True)
class Check:
    """A STUN request whose token is ours: the route it names, and what proves it may."""

    route: Route
    ufrag: str = field(repr=False)
    message: stun.Message = field(repr=False)
    packet: bytes = field(repr=False)


class Admission:
    """Reads STUN requests with the fleet's token keys."""

    def __init__(self, keys: KeyRing, cluster: int) -> None:
        self._keys = keys
        self._cluster = cluster

    def rotate(self, keys: KeyRing) -> None:
        """Other keys from the next packet on."""
        self._keys = keys

    def read(self, packet: bytes) -> Check:
        """The request's route.

        Raises WireError: the reasons of `wire.stun.read`, `wire.stun.username` and
        `wire.token.read`, or `foreign_cluster`.
        """
        message = stun.read(packet)
        ufrag, _ = stun.username(message)
        route = token.read(self._keys, ufrag)
        if route.cluster != self._cluster:
            raise WireError("foreign_cluster")
        return Check(route, ufrag, message, packet)

    def is_ours(self, ufrag: str) -> bool:
        """Whether a transceiver of this cluster made a ufrag."""
        try:
            return token.read(self._keys, ufrag).cluster == self._cluster
        except WireError:
            return False

    def authenticate(self, check: Check) -> None:
        """Raise WireError `stun_integrity` unless the sender holds the ufrag's password."""
        password = token.password(self._keys, check.ufrag)
        if not stun.has_integrity(check.message, check.packet, password):
            raise WireError("stun_integrity")
