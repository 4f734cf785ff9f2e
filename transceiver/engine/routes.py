"""Which session a packet is for: STUN requests by ufrag, all else by the caller's address.

An address belongs to one session at a time. Whoever authenticates with a check from it has it, and
the session that had it before is told.
"""

from __future__ import annotations

from transceiver.call.session import Session


class Path:
    """An address of a caller: its session, and the relay worker that receives from it."""

    __slots__ = ("relay", "session")

    def __init__(self, session: Session, relay: bytes) -> None:
        self.session = session
        self.relay = relay


class Routes:
    """Both tables. `paths` and `ufrags` are read on the path of every packet, so they are open."""

    def __init__(self) -> None:
        self.paths: dict[bytes, Path] = {}
        self.ufrags: dict[str, Session] = {}

    def learn(self, session: Session, address: bytes, relay: bytes) -> Session | None:
        """Route an address; the other session that had it, if there was one."""
        path = self.paths.get(address)
        self.paths[address] = Path(session, relay)
        return path.session if path is not None and path.session is not session else None

    def forget(self, session: Session, address: bytes) -> None:
        """Stop that, unless it is another session's by now."""
        path = self.paths.get(address)
        if path is not None and path.session is session:
            del self.paths[address]

    def drop(self, session: Session) -> None:
        """Nothing leads to the session any more."""
        for ufrag in session.ufrags:
            self.ufrags.pop(ufrag, None)
        for address in session.addresses:
            self.forget(session, address)

    def relay_of(self, address: bytes) -> bytes:
        """The relay worker that receives from an address; empty when it is not known."""
        path = self.paths.get(address)
        return b"" if path is None else path.relay
