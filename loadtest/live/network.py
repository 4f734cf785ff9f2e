"""What a caller's network does to each packet, in both directions. Pure."""

from __future__ import annotations

from loadtest.callers.port import Delays, straight
from loadtest.live.order import Network
from loadtest.media_bench import impairment


def one_way(network: Network, seed: int) -> Delays:
    """One direction of a network; the same seed does the same to the same row of packets."""
    if network.clean:
        return straight
    model = impairment.Network(
        impairment.Impairment(
            "live",
            loss=network.loss,
            burst=network.burst,
            jitter_s=network.jitter_ms / 1000,
            reorder=network.reorder,
            duplicate=network.duplicate,
        ),
        seed,
    )
    base_s = network.delay_ms / 1000
    numbers = iter(range(1 << 62))

    def delays() -> tuple[float, ...]:
        return tuple(base_s + more_s for more_s in model.delays_s(next(numbers)))

    return delays
