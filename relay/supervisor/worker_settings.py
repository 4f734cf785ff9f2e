"""What the settings of a relay say to its workers."""

from __future__ import annotations

from relay.settings import RelaySettings
from relay.shared.orders import Orders
from relay.shared.rates import Rates


def first_orders(settings: RelaySettings, number: int) -> Orders:
    """What the settings ask for; `number` is above that of any relay before on the same memory."""
    return Orders(
        number=number,
        token_keys=settings.token_keys.export(),
        trunk_keys=settings.trunk_keys.export(),
        rates=Rates(
            strangers=settings.relay_stranger_packets_per_s,
            checks=settings.relay_checks_per_s,
            packets=settings.relay_packets_per_s,
        ),
        checks_trunk_source=settings.relay_trunk_source_check,
    )
