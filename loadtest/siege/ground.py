"""Where a siege takes place: the addresses an attacker reaches, and what it notes."""

from __future__ import annotations

import socket
from collections import Counter
from dataclasses import dataclass, field

from fleet.address import Address as Place
from loadtest.callers.dtls import Identity
from loadtest.stand import Stand
from loadtest.target import Target

Address = tuple[str, int]


@dataclass
class Ground:
    """`key` is a good API key of a tenant of its own: some attackers are customers."""

    stand: Stand
    key: str = field(repr=False)
    identity: Identity
    strangers_bytes: int = 0
    """What came to sockets that nobody authenticated."""
    amplification: list[float] = field(default_factory=list)
    """Bytes that came to an address which never answered, over the bytes it had sent."""
    done: Counter[str] = field(default_factory=Counter)
    """What attackers got done, by name: an attack that did nothing proves nothing."""

    @property
    def target(self) -> Target:
        """Where the hostile customer calls."""
        return Target(self.stand.targets[0].url, self.key)

    @property
    def http(self) -> Address:
        """The transceiver's HTTP port."""
        return self._address("transceiver-1", "TRUNKLINE_TRANSCEIVER_HTTP")

    @property
    def relay(self) -> Address:
        """The relay's public port."""
        relays = self.stand.setting("transceiver-1", "TRUNKLINE_TRANSCEIVER_RELAYS")
        relay = Place.parse(relays.split(",")[0])
        host, port = relay.host, relay.port
        return host, port

    @property
    def admin_ports(self) -> list[Address]:
        """Of relay and transceiver."""
        found = [Place.parse(self.stand.admin(name)) for name in ("relay-1", "transceiver-1")]
        return [(one.host, one.port) for one in found]

    @property
    def redis_url(self) -> str:
        """Redis, with its password: some attackers can write there."""
        return self.stand.setting("transceiver-1", "TRUNKLINE_REDIS_URL")

    def parts(self) -> list[str]:
        """The processes that carry calls."""
        return [n for kind in ("relay", "transceiver", "backend") for n in self.stand.names(kind)]

    def _address(self, part: str, setting: str) -> Address:
        bound = Place.parse(self.stand.setting(part, setting))
        host, port = bound.host, bound.port
        return host, port


def udp() -> socket.socket:
    """A socket of somebody on this machine, which does not wait."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


def drained(sock: socket.socket) -> int:
    """Read what has come; how many bytes that was."""
    count = 0
    while True:
        try:
            count += len(sock.recv(65536))
        except (BlockingIOError, ConnectionError):
            return count
