"""What a call reports to its backend: it merges while it waits, and only the newest travels."""

from __future__ import annotations

from transceiver.link.outbox import EVENT_BYTES, Outbox


class Reports:
    """Credit, network, playout and what is kept, of one call on the link."""

    __slots__ = ("credit", "kept", "network", "playout")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Report nothing of what waits."""
        self.credit = 0
        self.kept = 0
        self.network: tuple[float | None, int, float] | None = None
        self.playout: tuple[int, int, int, int] | None = None

    def write(self, outbox: Outbox, call: int, clears: int) -> int:
        """Append what waits; how many events of it count (model.proto's Resume)."""
        if self.kept:
            outbox.add(call, EVENT_BYTES).kept.taken_events = self.kept
        written = 0
        if self.credit:
            outbox.add(call, EVENT_BYTES).credit.frames = self.credit
            written += 1
        if self.network is not None:  # before the playout, as model.proto says
            self._write_network(outbox, call, *self.network)
            written += 1
        if self.playout is not None:
            playout = outbox.add(call, EVENT_BYTES).playout
            playout.sent_frames, playout.acked_frames = self.playout[:2]
            playout.cleared_frames, playout.queued_frames = self.playout[2:]
            playout.clears = clears
            written += 1
        self.forget()
        return written

    def _write_network(
        self, outbox: Outbox, call: int, round_trip_s: float | None, packets: int, waited_s: float
    ) -> None:
        network = outbox.add(call, EVENT_BYTES).network
        network.packets, network.waited_ms = packets, waited_s * 1000
        if round_trip_s is not None:
            network.round_trip_ms = round_trip_s * 1000
