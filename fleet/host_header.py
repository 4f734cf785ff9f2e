"""Host names that no foreign DNS server decides about.

A page that anybody on this machine may use answers only under these: another site can point a name
of its own here (DNS rebinding), and would then be the same origin.
"""

from __future__ import annotations

import ipaddress
import re

MAX_HOST_CHARS = 253 + len(":65535")  # RFC 1035 §2.3.4
_PORT = re.compile(r":[0-9]{0,5}$")


def is_unspoofable(header: str) -> bool:
    """Whether a Host header names an IP address or localhost."""
    host = _host(header)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(header: str) -> str:
    """The host of a Host header (RFC 9110 §7.2), without port and brackets; "" for a long one.

    aiohttp's own reading encodes names for DNS, and asks DNS where the header is missing.
    """
    if len(header) > MAX_HOST_CHARS:
        return ""
    host = header.rpartition(":")[0] if _PORT.search(header) else header
    return host.removeprefix("[").removesuffix("]").lower()
