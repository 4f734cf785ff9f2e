"""The streams of the benchmarks: who sends what to whom."""

from __future__ import annotations

import socket
import time

from loadtest.relay_bench import packets
from loadtest.relay_bench.node import Node
from loadtest.relay_bench.packets import FRAMES_A_DATAGRAM, STAMP_TIME_AT, VOICE_BYTES
from loadtest.relay_bench.streams import ANY_HOST, Packet, Stream
from wire.trunk import ENTRY_BYTES, HEADER_BYTES

Address = tuple[str, int]

TEMPLATES = 256
"""Different trunk datagrams; each goes out again with a new count and tag."""
UP_SEGMENT = 2
"""Packets of one flow in a row: what a generator needs to outrun the relay from one core."""
UP_BURST = 32
DOWN_SEGMENT = 16
DOWN_BURST = 4


def checks(sock: socket.socket, to: Address, node: Node, flows: int) -> Stream:
    """One connectivity check a flow, which makes it."""
    made = [
        Packet(packets.check(node.keys.token, node.route), packets.flow_host(flow))
        for flow in range(flows)
    ]
    return Stream(sock, to, made, burst=16)


def voice(sock: socket.socket, to: Address, flows: int, segment: int = UP_SEGMENT) -> Stream:
    """A voice packet of each flow in turn, `segment` at a time; for a sink `plain` or `trunk`."""
    made = [
        Packet(packets.voice(flow), packets.flow_host(flow), stamp_at=STAMP_TIME_AT, stamps=1)
        for flow in range(flows)
        for _ in range(segment)
    ]
    return Stream(sock, to, made, burst=UP_BURST, segment=segment)


def trunk(node: Node, to: Address, flows: int, client_port: int, datagrams: int) -> Stream:
    """`datagrams` full trunk datagrams with valid tags, each with a count of its own."""
    return _trunk(node, to, flows, client_port, datagrams, FRAMES_A_DATAGRAM)


def trunk_singles(node: Node, to: Address, flows: int, client_port: int, frames: int) -> Stream:
    """The same with one frame in each."""
    return _trunk(node, to, flows, client_port, frames, 1)


def _trunk(
    node: Node, to: Address, flows: int, client_port: int, datagrams: int, frames: int
) -> Stream:
    templates = packets.trunk_templates(node.tagger, flows, client_port, TEMPLATES, frames)
    # One segmented send must not run over the end of the templates.
    datagrams -= datagrams % DOWN_SEGMENT
    patches = packets.trunk_patches(
        node.tagger, templates, node.sender, int(time.time()), node.take_counts(datagrams)
    )
    stamp_at = HEADER_BYTES + ENTRY_BYTES * frames + STAMP_TIME_AT
    made = [
        Packet(template, ANY_HOST, stamp_at, VOICE_BYTES, stamps=frames, frames=frames)
        for template in templates
    ]
    return Stream(node.sock, to, made, patches, burst=DOWN_BURST, segment=DOWN_SEGMENT)


def keyed(node: Node, to: Address, flows: int, client_port: int) -> Stream:
    """A voice packet for each flow in turn, as the C forwarder takes it from a node."""
    stamp_at = 8 + STAMP_TIME_AT
    turns = [index % flows for index in range(TEMPLATES * FRAMES_A_DATAGRAM)]
    made = [Packet(packets.keyed(flow, client_port), stamp_at=stamp_at, stamps=1) for flow in turns]
    return Stream(node.sock, to, made, burst=DOWN_BURST, segment=DOWN_SEGMENT)
