"""The messages of one call: its data channels, and who else hears them.

backend ── tell ──▶ WaitingMessages ──▶ DataChannels ── SCTP packets ──▶ DTLS
            └─ events ─▶ Sidebands
backend ◀─ heard ────────────────────── DataChannels ◀── handle ──────── DTLS
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from transceiver.call.offer import DataOffer
from transceiver.call.sidebands import EVENTS_LABEL, Sidebands
from transceiver.call.waiting_messages import WaitingMessages
from transceiver.counters import Counted
from transceiver.data.channels import DataChannels
from transceiver.data.sctp import run
from transceiver.takeover.session_state import Reserve, SctpState, WaitingMessage
from transceiver.transport.dtls import Role


class CallMessages:
    """Both directions; `offer` None: the caller has no data section.

    `send` takes SCTP packets, `heard` the caller's messages, `count` reasons by fixed words,
    `fault` what raises.
    """

    def __init__(
        self,
        offer: DataOffer | None,
        role: Role,
        send: Callable[[bytes], None],
        heard: Callable[[str, str | bytes], None],
        count: Callable[[str], None],
        fault: Callable[[Exception], None],
    ) -> None:
        self.received = self.sent = 0
        self.sidebands = Sidebands()
        self.channels: DataChannels | None = None
        self._offer = offer
        self._role = role
        self._send = send
        self._heard = heard
        self._count = count
        self._fault = fault
        self._waiting = WaitingMessages()
        self._opened = False  # a channel, since somebody asked

    def start(self) -> None:
        """There are keys: channels may open."""
        if self._offer is not None:
            self.channels = self._make_channels(self._offer)
            run(self.channels.start())  # it suspends nowhere: no task

    def resume(
        self, state: SctpState | None, waiting: tuple[WaitingMessage, ...], reserve: Reserve
    ) -> None:
        """Go on with the channels of another process."""
        self._waiting.resume(waiting)
        if self._offer is None:
            return
        if state is None:  # it was not established: both sides may begin anew (RFC 9260 §5.2)
            self.start()
            return
        self.channels = self._make_channels(self._offer)
        self.channels.resume(state, reserve)

    def export(self) -> tuple[SctpState | None, tuple[WaitingMessage, ...]]:
        """The association and what waits, as values."""
        sctp = self.channels.export() if self.channels is not None else None
        return sctp, self._waiting.export()

    def tell(self, label: str, content: str | bytes) -> None:
        """Send a message to the caller; it waits for a channel that is not open yet."""
        if label == EVENTS_LABEL and isinstance(content, str):
            self.sidebands.tell(content)
        if self._offer is None:
            self._count(Counted.DATA_NOT_OFFERED)
        elif self.channels is not None and label in self.channels.labels:
            self._say(self.channels, label, content)
        elif not self._waiting.add(label, content):
            self._count(Counted.DATA_WAITING_FULL)

    def handle(self, packet: bytes) -> None:
        """Take an SCTP packet of the caller."""
        if self.channels is not None:
            self.channels.handle_data(packet)

    def has_news(self) -> bool:
        """Whether what came last will not come again: a channel opened, a message is in pieces."""
        opened, self._opened = self._opened, False
        return opened or (self.channels is not None and self.channels.in_pieces)

    def leave(self) -> None:
        """End without a word: another process goes on."""
        if self.channels is not None:
            self.channels.leave()

    def close(self) -> None:
        """End the association."""
        if self.channels is not None:
            self.channels.close()

    def dropped(self) -> Counter[str]:
        """What a peer did wrong since the last time, by reason."""
        return self.channels.dropped if self.channels is not None else Counter()

    def release(self) -> None:
        """The call is over, or goes on elsewhere.

        Lets go of who made this as well, so that a call is freed without the garbage collector.
        """
        self.channels = None
        self._send = self._heard = self._fault = _let_go
        self.sidebands.end()

    def _make_channels(self, offer: DataOffer) -> DataChannels:
        return DataChannels(
            self._role,
            remote_port=offer.sctp_port,
            remote_max_message_size=offer.max_message_size,
            send=self._send_packet,
            on_message=self._on_message,
            on_open=self._on_open,
            on_close=lambda: self._count(Counted.SCTP_ENDED),
            on_fault=self._failed,
        )

    def _failed(self, error: Exception) -> None:
        self._fault(error)

    def _send_packet(self, packet: bytes) -> None:
        self._send(packet)

    def _on_message(self, label: str, content: str | bytes) -> None:
        self.received += 1
        self._heard(label, content)

    def _on_open(self, label: str) -> None:
        self._opened = True
        if self.channels is not None:
            for content in self._waiting.take(label):
                self._say(self.channels, label, content)

    def _say(self, channels: DataChannels, label: str, content: str | bytes) -> None:
        if channels.send(label, content):
            self.sent += 1
        else:
            self._count(Counted.DATA_REFUSED)


def _let_go(*_: object) -> None:
    pass
