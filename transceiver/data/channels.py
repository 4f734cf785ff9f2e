"""The data channels of one call (RFC 8831, RFC 8832): labelled messages over SCTP over DTLS.

Packets go in by `handle_data` and out by `send`; messages come out by `on_message`. Timers are the
event loop's, so everything here is called on one running loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities

from transceiver.data.sctp import MAX_CHANNELS, MAX_MESSAGE_BYTES, Association, DtlsPipe
from transceiver.takeover.session_state import STOPPED_BEFORE, Reserve, SctpState
from transceiver.transport.dtls import Role

SCTP_PORT = 5000  # a=sctp-port of everybody's SDP
MAX_BUFFERED_BYTES = 1024 * 1024  # over all channels, not yet handed to SCTP
MAX_BUFFERED_MESSAGES = 4096  # a message costs some hundred bytes however short it is


class DataChannels:
    """The data channels of one call. Make it, then `await start()`, on the running loop.

    `send` takes an SCTP packet of at most 1,189 bytes; what it returns does not matter.
    `on_message(label, content)` hears text as str and binary as bytes, `on_open(label)` each
    channel that opens, `on_close()` the end of the association, once, whoever ended it. What raises
    in one of them, in a timer or in a task of the association goes to `on_fault`. What a peer does
    wrong is counted in `dropped`.
    """

    def __init__(
        self,
        role: Role,
        *,
        remote_port: int,
        remote_max_message_size: int,
        send: Callable[[bytes], object],
        on_message: Callable[[str, str | bytes], None],
        on_open: Callable[[str], None],
        on_close: Callable[[], None],
        on_fault: Callable[[Exception], None],
        local_port: int = SCTP_PORT,
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self._remote_port = remote_port
        # RFC 8841 §6: 0 is "any size"; our own bound still holds.
        self._max_message_bytes = min(
            remote_max_message_size or MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES
        )
        self._on_message, self._on_open, self._on_close = on_message, on_open, on_close
        self._on_fault = on_fault
        self._channels: dict[str, RTCDataChannel] = {}
        pipe = DtlsPipe(role.value, send, self.dropped)
        self._association = Association(pipe, local_port, self.dropped, self._ended, on_fault)
        self._association.on("datachannel", self._opened)

    @property
    def labels(self) -> frozenset[str]:
        """The labels of the channels that are open."""
        return frozenset(self._channels)

    async def start(self) -> None:
        """Send the INIT; both sides do (RFC 8841 §9.3)."""
        capabilities = RTCSctpCapabilities(maxMessageSize=self._max_message_bytes)
        await self._association.start(capabilities, self._remote_port)

    @property
    def in_pieces(self) -> bool:
        """Whether a message of the caller has come in part."""
        return self._association.in_pieces

    def export(self) -> SctpState | None:
        """The association and its open channels as a value; None until it is established."""
        return self._association.export()

    def resume(self, state: SctpState, reserve: Reserve = STOPPED_BEFORE) -> None:
        """Go on with the channels of another process, instead of `start`; `on_open` hears each.

        `transceiver.takeover.resumed_sctp` says what arrives how often.
        """
        for channel in self._association.resume(state, self._max_message_bytes, reserve):
            self._opened(channel)
        self._association.wake()

    def leave(self) -> None:
        """Stop without a word: another process goes on."""
        self._association.leave()

    def handle_data(self, data: bytes) -> None:
        """Take one SCTP packet, as DTLS opened it. Never raises."""
        self._association.receive(data)

    def open(self, label: str) -> None:
        """Create a channel; `on_open` tells when it can be used.

        Raises ValueError for a label that is not ASCII (the association below counts characters
        where RFC 8832 §5.1 counts bytes) and above MAX_CHANNELS.
        """
        if not label.isascii():
            raise ValueError("a data channel's label must be ASCII")
        if self._association.channel_count >= MAX_CHANNELS:
            raise ValueError(f"a call has at most {MAX_CHANNELS} data channels")
        channel = RTCDataChannel(self._association, RTCDataChannelParameters(label=label))
        channel.on("open", lambda: self._opened(channel))

    def send(self, label: str, content: str | bytes) -> bool:
        """Queue a message; False when no such channel is open, it is too long, or the buffer full.

        The peer's max-message-size counts bytes, so text is measured as UTF-8.
        """
        channel = self._channels.get(label)
        size_bytes = len(content.encode() if isinstance(content, str) else content)
        if channel is None or channel.readyState != "open":
            return False
        if size_bytes > self._max_message_bytes or not self._has_room(size_bytes):
            return False
        channel.send(content)
        return True

    def close(self) -> None:
        """End the association with an ABORT; no timer is left afterwards.

        Tasks that aiortc has scheduled find nothing to do in the loop's next turn.
        """
        self._association.abort()

    def _has_room(self, size_bytes: int) -> bool:
        buffered = sum(channel.bufferedAmount for channel in self._channels.values())
        waiting = len(self._association._data_channel_queue)
        return buffered + size_bytes <= MAX_BUFFERED_BYTES and waiting < MAX_BUFFERED_MESSAGES

    def _opened(self, channel: RTCDataChannel) -> None:
        label = channel.label
        # Labels need not be unique (RFC 8832 §5.1): all are heard, the first is spoken to.
        self._channels.setdefault(label, channel)
        channel.on("message", lambda content: self._tell(self._on_message, label, content))
        channel.on("close", lambda: self._closed(channel))
        self._tell(self._on_open, label)

    def _closed(self, channel: RTCDataChannel) -> None:
        if self._channels.get(channel.label) is channel:
            del self._channels[channel.label]

    def _ended(self) -> None:
        self._channels.clear()
        self._tell(self._on_close)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception as error:  # ours, not the peer's
            self._on_fault(error)
