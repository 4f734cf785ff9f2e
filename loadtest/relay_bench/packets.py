"""The packets of a benchmark, made before it starts: voice, checks, trunk datagrams, attacks.

Flows have addresses in 127.64.0.0/10, which the kernel lets any socket send from and receive at.
Neighbouring flows have different /24 networks, as callers of a public service do.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from wire import stun, token
from wire.address import V4_MAPPED_PREFIX
from wire.keys import KeyRing
from wire.token import Route
from wire.trunk import ENTRY_BYTES, HEADER_BYTES, TAGGED_FROM, Tagger, pack

VOICE_BYTES = 160
PATCH_BYTES = 20
"""Tag, sender, time and count of a trunk datagram."""
FRAMES_A_DATAGRAM = 7
"""As many voice packets as fit 1,400 bytes."""

STAMP_AT = 12
STAMP_TIME_AT = STAMP_AT + 8
_MAGIC = 0x51A4B37C
_RTP_HEADER = struct.pack("!BBHII", 0x80, 111, 1, 960, 0x7E57CA11)
_STAMP = struct.Struct("=IIQ")

CALLERS = 64
STRANGERS = 192
"""Second octet of the first address."""
_NETWORKS = 1 << 14
MAX_FLOWS = _NETWORKS * 254


def flow_host(flow: int, first: int = CALLERS) -> bytes:
    """The IPv4 address of a flow, 4 bytes. Raises ValueError past `MAX_FLOWS`."""
    if not 0 <= flow < MAX_FLOWS:
        raise ValueError(f"a flow is numbered 0 to {MAX_FLOWS - 1}")
    network = flow % _NETWORKS
    return bytes([127, first + (network >> 8), network & 255, 1 + flow // _NETWORKS])


def flow_address(flow: int, port: int) -> bytes:
    """The address of a flow as `wire.address` has it."""
    return V4_MAPPED_PREFIX + flow_host(flow) + port.to_bytes(2)


def voice(flow: int) -> bytes:
    """An RTP packet of `VOICE_BYTES` with room for the stamp of its flow."""
    body = _RTP_HEADER + _STAMP.pack(_MAGIC, flow, 0)
    return body + bytes(VOICE_BYTES - len(body))


def keyed(flow: int, port: int) -> bytes:
    """A voice packet behind the key that the C forwarder knows its client by."""
    # The key is `address << 16 | port`, both as they lie in a packet, in host order.
    (host,) = struct.unpack("=I", flow_host(flow))
    (network_port,) = struct.unpack("=H", port.to_bytes(2))
    return struct.pack("=Q", host << 16 | network_port) + voice(flow)


def check(keys: KeyRing, route: Route, password: str | None = None) -> bytes:
    """An ICE connectivity check with a ufrag of its own, as a browser sends it.

    With another `password` than the ufrag's it carries a MESSAGE-INTEGRITY that is wrong.
    """
    ufrag = token.mint(keys, route, os.urandom(4))
    attributes = [
        (stun.Attribute.USERNAME, f"{ufrag}:load".encode()),
        (stun.Attribute.ICE_CONTROLLING, os.urandom(8)),
        (stun.Attribute.PRIORITY, b"\x6e\x00\x1e\xff"),
    ]
    return stun.write(
        stun.Method.BINDING,
        stun.MessageClass.REQUEST,
        os.urandom(12),
        attributes,
        password or token.password(keys, ufrag),
    )


def trunk_templates(
    tagger: Tagger, flows: int, port: int, count: int, frames: int = FRAMES_A_DATAGRAM
) -> list[bytes]:
    """`count` trunk datagrams of `frames` voice packets each, the flows in turn."""
    turns = [index % flows for index in range(count * frames)]
    return [
        pack(
            tagger,
            0,
            0,
            0,
            [(flow_address(flow, port), voice(flow)) for flow in turns[start : start + frames]],
        )
        for start in range(0, len(turns), frames)
    ]


def trunk_patches(
    tagger: Tagger, templates: list[bytes], sender: int, time_s: int, counts: range
) -> bytes:
    """Tag, sender, time and count for each datagram to send, 20 bytes each, templates in turn.

    Payloads are not under the tag (`wire.trunk`), so stamps may be written into them later.
    """
    tables = [
        template[HEADER_BYTES : HEADER_BYTES + ENTRY_BYTES * template[2]] for template in templates
    ]
    return b"".join(_patches(tagger, tables, sender, time_s, counts))


def _patches(
    tagger: Tagger, tables: list[bytes], sender: int, time_s: int, counts: range
) -> Iterator[bytes]:
    head = struct.pack("!II", sender, time_s)
    for place, count in enumerate(counts):
        origin = head + struct.pack("!I", count & 0xFFFFFFFF)
        yield tagger.tag(origin + tables[place % len(tables)]) + origin


def patched(template: bytes, patch: bytes) -> bytes:
    """The datagram as it is sent."""
    start = TAGGED_FROM - 8
    return template[:start] + patch + template[start + len(patch) :]


def garbage() -> bytes:
    """Bytes that are none of the protocols of a WebRTC port, or only begin like one."""
    return os.urandom(VOICE_BYTES)
