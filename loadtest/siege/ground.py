"""Where a siege takes place: the addresses an attacker reaches, and what it notes."""

from __future__ import annotations

import json
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from loadtest.callers.dtls import Identity
from loadtest.stand import Stand
from loadtest.target import Target
from trunkline.process.address import Address as Place

Address = tuple[str, int]


@dataclass(frozen=True)
class Map:
    """What attackers know of a stand: they are in another process, which gets it as a line.

    `key` is a good API key of a tenant of its own: some attackers are customers. `redis_url` has
    the password: one of them can write there. `pids` are the parts that carry calls, and
    `admin_ports` those of relay and transceiver.
    """

    url: str
    key: str = field(repr=False)
    http: Address
    relay: Address
    admin_ports: list[Address]
    redis_url: str = field(repr=False)
    pids: list[int]

    @classmethod
    def of(cls, stand: Stand, key: str) -> Self:
        """The map of a stand that is up."""
        settings = stand.setting
        relays = settings("transceiver-1", "TRUNKLINE_TRANSCEIVER_RELAYS")
        return cls(
            url=stand.targets[0].url,
            key=key,
            http=_address(settings("transceiver-1", "TRUNKLINE_TRANSCEIVER_HTTP")),
            relay=_address(relays.split(",")[0]),
            admin_ports=[_address(stand.admin(name)) for name in ("relay-1", "transceiver-1")],
            redis_url=settings("transceiver-1", "TRUNKLINE_REDIS_URL"),
            pids=[stand.keepers[name].pid for name in carriers(stand)],
        )

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(vars(self))

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """Read what `to_line` wrote. Raises ValueError."""
        try:
            read = json.loads(line)
            for name in ("http", "relay"):
                read[name] = tuple(read[name])
            read["admin_ports"] = [tuple(port) for port in read["admin_ports"]]
            return cls(**read)
        except (KeyError, TypeError) as error:
            raise ValueError("not a map of a stand") from error


@dataclass
class Ground:
    """What attackers share: their map, and what they note."""

    map: Map
    identity: Identity = field(default_factory=Identity.make)
    strangers_bytes: int = 0
    """What came to sockets that nobody authenticated."""
    amplification: list[float] = field(default_factory=list)
    """Bytes that came to an address which never answered, over the bytes it had sent."""
    done: Counter[str] = field(default_factory=Counter)
    """What attackers got done, by name: an attack that did nothing proves nothing."""

    @property
    def target(self) -> Target:
        """Where the hostile customer calls."""
        return Target(self.map.url, self.map.key)


def carriers(stand: Stand) -> list[str]:
    """The parts of a stand that carry calls."""
    return [name for kind in ("relay", "transceiver", "backend") for name in stand.names(kind)]


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


def _address(text: str) -> Address:
    place = Place.parse(text)
    return place.host, place.port
