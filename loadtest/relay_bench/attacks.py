"""What strangers send: 100,000 packets a second, none of which may change anything."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass

from loadtest.relay_bench import packets
from loadtest.relay_bench.node import Node
from loadtest.relay_bench.packets import STRANGERS
from loadtest.relay_bench.streams import Packet, Stream
from wire.keys import KEY_BYTES, KeyRing

Address = tuple[str, int]

VARIETY = 4096
"""Different packets of each kind."""
FEW_NETWORKS = 4
"""Strangers in a few /24 networks of many addresses each."""
MANY_NETWORKS = VARIETY
"""Strangers all over the internet, no two in one network."""
REPLAYED = 256
BURST = 4


@dataclass(frozen=True)
class Strangers:
    """Who attacks: from one socket, with addresses in so many networks."""

    sock: socket.socket
    networks: int

    def stream(self, to: Address, made: list[bytes], rate_pps: float) -> Stream:
        """Each packet from the next address."""
        sent = [Packet(data, self._host(number)) for number, data in enumerate(made)]
        return Stream(self.sock, to, sent, rate_pps=rate_pps, burst=BURST)

    def _host(self, number: int) -> bytes:
        network, host = number % self.networks, number // self.networks
        return bytes([127, STRANGERS + (network >> 8), network & 255, 1 + host % 254])


def garbage(strangers: Strangers, to: Address, rate_pps: float) -> Stream:
    """A third random bytes, a third that begin like RTP, a third like DTLS."""
    starts = (b"", b"\x80\x6f", b"\x16\xfe\xfd")
    made = [start + packets.garbage() for start in starts for _ in range(VARIETY // len(starts))]
    secrets.SystemRandom().shuffle(made)
    return strangers.stream(to, made, rate_pps)


def forged(strangers: Strangers, to: Address, node: Node, rate_pps: float) -> Stream:
    """Checks whose route token was signed with a key that is not the fleet's."""
    current = node.keys.token.current
    strange_keys = KeyRing(current, {current: os.urandom(KEY_BYTES)})
    made = [packets.check(strange_keys, node.route) for _ in range(VARIETY)]
    return strangers.stream(to, made, rate_pps)


def bad_integrity(strangers: Strangers, to: Address, node: Node, rate_pps: float) -> Stream:
    """Checks with a token that is ours and a MESSAGE-INTEGRITY made without its password."""
    made = [
        packets.check(node.keys.token, node.route, password="not the password")  # noqa: S106
        for _ in range(VARIETY)
    ]
    return strangers.stream(to, made, rate_pps)


def replayed(node: Node, to: Address, client_port: int, rate_pps: float) -> Stream:
    """Trunk datagrams that the node sent once, now sent again and again from its own address.

    Call this right before the flood: it sends them the first time.
    """
    templates = packets.trunk_templates(node.tagger, REPLAYED, client_port, REPLAYED)
    counts = node.take_counts(REPLAYED)
    patches = packets.trunk_patches(node.tagger, templates, node.sender, int(time.time()), counts)
    made = [
        packets.patched(template, patches[start : start + packets.PATCH_BYTES])
        for template, start in zip(
            templates, range(0, len(patches), packets.PATCH_BYTES), strict=True
        )
    ]
    for datagram in made:
        node.sock.sendto(datagram, to)
    return Stream(node.sock, to, [Packet(data) for data in made], rate_pps=rate_pps, burst=BURST)
