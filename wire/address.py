"""Socket addresses as 18 bytes: 16 of IPv6 (IPv4 as ::ffff:a.b.c.d, RFC 4291 §2.5.5.2), 2 of port.

One width for both families makes an address a dictionary key, a table row and a trunk field
without a branch.
"""

from __future__ import annotations

import socket
import struct

from wire.errors import WireError

ADDRESS_BYTES = 18
V4_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

_PORT = struct.Struct("!H")


def pack_address(host: str, port: int) -> bytes:
    """The 18 bytes of a numeric address. Raises WireError for a name or a port out of range."""
    if not 0 <= port <= 0xFFFF:
        raise WireError("bad_port")
    bare_host = host.partition("%")[0]
    try:
        if ":" in bare_host:
            return socket.inet_pton(socket.AF_INET6, bare_host) + _PORT.pack(port)
        return V4_MAPPED_PREFIX + socket.inet_pton(socket.AF_INET, bare_host) + _PORT.pack(port)
    except (OSError, ValueError):
        raise WireError("bad_host") from None


def unpack_address(packed: bytes) -> tuple[str, int]:
    """Host and port of 18 bytes; a mapped IPv4 address comes back dotted."""
    if len(packed) != ADDRESS_BYTES:
        raise WireError("bad_address_length")
    (port,) = _PORT.unpack_from(packed, 16)
    if packed.startswith(V4_MAPPED_PREFIX):
        return socket.inet_ntop(socket.AF_INET, packed[12:16]), port
    return socket.inet_ntop(socket.AF_INET6, packed[:16]), port


def is_v4(packed: bytes) -> bool:
    """Whether the 18 bytes are a mapped IPv4 address."""
    return packed.startswith(V4_MAPPED_PREFIX)
