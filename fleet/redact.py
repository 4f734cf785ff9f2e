"""Shortens what belongs to a caller: enough to find a fault, too little to find the person."""

from __future__ import annotations

import ipaddress
import re

V4_PREFIX_BITS = 24
V6_PREFIX_BITS = 48
UFRAG_SHOWN = 4
UNREADABLE = "unreadable"

# Whatever could be an IP address in running text; `_network_in_text` decides.
_ADDRESS_LIKE = re.compile(r"[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.]+(?:%\w+)?")
# A route token: 24 letters and digits of Crockford base32, in either case, as a word of its own.
_UFRAG_LIKE = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{24}\b", re.IGNORECASE | re.ASCII)


def redact_network(address: str) -> str:
    """The network of an IP address: `203.0.113.7` → `203.0.113.0/24`, IPv6 → its /48.

    A v4-mapped address counts as IPv4. What is no IP address becomes `unreadable`.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return UNREADABLE
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    bits = V4_PREFIX_BITS if parsed.version == 4 else V6_PREFIX_BITS
    return str(ipaddress.ip_network((parsed, bits), strict=False))


def redact_ufrag(ufrag: str) -> str:
    """The first four characters (key id, cluster and the top of the node), then an ellipsis."""
    return ufrag[:UFRAG_SHOWN] + "…"


def redact_transcript(text: str) -> str:
    """Its length, and nothing of its words."""
    return f"[{len(text)} characters]"


def redact_text(text: str) -> str:
    """Running text from a library or a traceback, with addresses and route tokens cut short.

    Loopback and unspecified addresses stay: they name nobody.
    """
    return _UFRAG_LIKE.sub(
        lambda found: redact_ufrag(found[0]), _ADDRESS_LIKE.sub(_network_in_text, text)
    )


def _network_in_text(found: re.Match[str]) -> str:
    whole = found[0]
    for address in (whole, whole.rstrip(":."), whole.rpartition(":")[0]):
        network = redact_network(address)
        if network != UNREADABLE:
            bare = ipaddress.ip_address(address.partition("%")[0])
            harmless = bare.is_loopback or bare.is_unspecified
            return whole if harmless else network + whole[len(address) :]
    return whole
