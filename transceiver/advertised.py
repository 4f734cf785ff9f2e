"""Where others reach what this process has bound."""

from __future__ import annotations

from transceiver.settings import TransceiverSettings
from trunkline.process.address import Address


def trunk_for_relays(settings: TransceiverSettings, bound: Address) -> Address:
    """Where relays send to; port 0 stands for the one that was bound."""
    chosen = settings.transceiver_trunk_advertise or bound
    return Address(chosen.host, chosen.port or bound.port)


def http_for_others(settings: TransceiverSettings, trunk_bound: Address) -> Address | None:
    """Where other pods reach this one's HTTP port; None while that is any free one, as in tests."""
    http, host = settings.transceiver_http, trunk_for_relays(settings, trunk_bound).host
    return reachable(http, host) if http.port else None


def reachable(bound: Address, own_host: str) -> Address:
    """Where others reach what is bound, on all addresses perhaps."""
    return Address(own_host, bound.port) if bound.unspecified else bound
