"""The SCTP association of one call: aiortc's, with the limits that aiortc does not set.

aiortc's association talks to an RTCDtlsTransport; `DtlsPipe` is the part of one that it uses. No
send in it ever waits, so the association's coroutines never suspend and `run` drives them to their
end in place: packets stay in order and no packet costs a task.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast

from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcsctptransport import (
    DATA_CHANNEL_ACK,
    DATA_CHANNEL_OPEN,
    SCTP_MAX_PACKET_LENGTH,
    WEBRTC_DCEP,
    Chunk,
    DataChunk,
    ForwardTsnChunk,
    InboundStream,
    RTCSctpTransport,
    SackChunk,
)

from transceiver.counters import Counted
from transceiver.data.sctp_screen import MAX_STREAMS, screen
from transceiver.faults import Guard
from transceiver.takeover.resumed_sctp import (
    HOLE_PATIENCE_S,
    chunk_state,
    data_chunk,
    outbound,
    pop_behind,
)
from transceiver.takeover.session_state import (
    STOPPED_BEFORE,
    ChannelState,
    Reserve,
    SctpState,
    StreamState,
    UnsentMessage,
)

MAX_CHANNELS = 64
MAX_LABEL_BYTES = 256
MAX_MESSAGE_BYTES = 256 * 1024
# Chunks waiting for the rest of their message or for a lost one: a message of MAX_MESSAGE_BYTES is
# about 240. Above this only the chunk that fills the hole is taken; at twice this it is all over.
# aiortc looks through them for each chunk that comes (0.1 ms at the bound).
MAX_HELD_CHUNKS = 512
MAX_TSN_AHEAD = 32768  # a gap block has 16 bits (RFC 9260 §3.3.4)

# RFC 9260 §16 says 1 s for both, for paths that know nothing of each other. A caller's round trip
# is below 400 ms or there is no conversation; libwebrtc's SCTP uses the same figures.
RTO_INITIAL_S = 0.5
RTO_MIN_S = 0.4
RTO_MAX_S = 60.0

_TSN_MODULO = 1 << 32


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never suspends. Raises what it raises, RuntimeError if it suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the SCTP association waited for something")


class DtlsPipe:
    """As much of an RTCDtlsTransport as an RTCSctpTransport uses; a send that fails is a loss."""

    state = "connected"

    def __init__(self, role: str, send: Callable[[bytes], object], dropped: Counter[str]) -> None:
        self._role = role  # RFC 8832 §6: the DTLS client opens the even streams
        self._send = send
        self._dropped = dropped
        self.closed = False

    async def _send_data(self, data: bytes) -> None:
        if self.closed:
            return
        if len(data) > SCTP_MAX_PACKET_LENGTH:  # an answer to a peer that bundles absurdly much
            self._dropped[Counted.SCTP_TOO_LARGE] += 1
            return
        try:
            self._send(data)
        except (ConnectionError, ValueError):
            self._dropped[Counted.SCTP_SEND] += 1

    def _register_data_receiver(self, receiver: object) -> None:
        """Do nothing: packets are handed in by our own call."""

    def _unregister_data_receiver(self, receiver: object) -> None:
        """Do nothing, as above."""


class Association(RTCSctpTransport):
    """An SCTP association that bounds what its peer can make it do; `on_end` is told once.

    `on_fault` hears what raises in it, whoever called: a packet, a timer, a task of aiortc's.
    """

    def __init__(
        self,
        pipe: DtlsPipe,
        port: int,
        dropped: Counter[str],
        on_end: Callable[[], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        super().__init__(cast(RTCDtlsTransport, pipe), port)
        self._pipe = pipe
        self._dropped = dropped
        self._on_end = on_end
        self._on_fault = on_fault
        self._held_chunks = 0
        self._hole_tsn: int | None = None  # behind it chunks may be gone, see `sctp_resume`
        self._lowest_tsn: int | None = None  # of what came since
        self._hole_timer: asyncio.TimerHandle | None = None
        self._passed_hole = False
        self._rto = RTO_INITIAL_S
        self._inbound_streams_max = MAX_STREAMS

    @property
    def ended(self) -> bool:
        """Whether the association is over, by either side."""
        return self._pipe.closed

    @property
    def channel_count(self) -> int:
        """Channels with a stream, and those whose OPEN still waits for one."""
        waiting = sum(channel.id is None for channel, _, _ in self._data_channel_queue)
        return len(self._data_channels) + waiting

    def receive(self, packet: bytes) -> None:
        """Take one SCTP packet. Never raises."""
        if self.ended:
            self._dropped[Counted.SCTP_ENDED] += 1
            return
        reason = Counted.SCTP_NO_ASSOCIATION if self._remote_port is None else screen(packet)
        if reason is not None:
            self._dropped[reason] += 1
            return
        self._held_chunks = sum(len(s.reassembly) for s in self._inbound_streams.values())
        with Guard(self._fault):  # after a fault its state is not to be trusted any more
            run(self._handle_data(packet))

    def abort(self) -> None:
        """End the association at once: an ABORT to the peer, and no timer left."""
        if not self.ended:
            try:
                run(self.stop())
            finally:
                self._set_state(self.State.CLOSED)  # no timer is left, whatever kept the ABORT

    def leave(self) -> None:
        """Stop without a word, timers too: another process goes on with the association."""
        self._go_quiet()
        run(self.stop())

    def _go_quiet(self) -> None:
        self._pipe.closed = True
        self._forget_unsent()
        self._forget_hole()

    @property
    def in_pieces(self) -> bool:
        """Whether chunks are here, and acknowledged, that are no whole message yet."""
        return any(stream.reassembly for stream in self._inbound_streams.values())

    def export(self) -> SctpState | None:
        """The association as a value; None unless it is established."""
        if self._association_state is not self.State.ESTABLISHED or self.ended:
            return None
        return SctpState(
            local_tag=self._local_verification_tag,
            remote_tag=self._remote_verification_tag,
            local_port=self._local_port,
            remote_port=self._remote_port or 0,
            local_tsn=self._local_tsn,
            last_sacked_tsn=self._last_sacked_tsn,
            advanced_peer_ack_tsn=self._advanced_peer_ack_tsn,
            last_received_tsn=self._last_received_tsn or 0,
            misordered=tuple(sorted(self._sack_misordered)),
            advertised_window=self._advertised_rwnd,
            slow_start_threshold=self._ssthresh,
            partial_reliability=self._remote_partial_reliability,
            extensions=tuple(self._remote_extensions),
            inbound_streams=self._inbound_streams_count,
            outbound_streams=self._outbound_streams_count,
            reconfig_request=self._reconfig_request_seq,
            reconfig_response=self._reconfig_response_seq,
            next_channel_id=self._data_channel_id or 0,
            outbound_sequences=tuple(self._outbound_stream_seq.items()),
            unacknowledged=tuple(map(chunk_state, (*self._sent_queue, *self._outbound_queue))),
            inbound=tuple(
                StreamState(number, s.sequence_number, tuple(map(chunk_state, s.reassembly)))
                for number, s in self._inbound_streams.items()
            ),
            channels=tuple(
                _channel_state(number, channel)
                for number, channel in self._data_channels.items()
                if channel.readyState == "open"
            ),
            unsent=tuple(
                UnsentMessage(channel.id, protocol, data)
                for channel, protocol, data in self._data_channel_queue
                if channel.id is not None
            ),
        )

    def resume(
        self, state: SctpState, max_message_bytes: int, reserve: Reserve = STOPPED_BEFORE
    ) -> list[RTCDataChannel]:
        """Go on with an association of another process, instead of `start`; its open channels.

        What was not acknowledged is sent again: the peer knows it by its number. Call `wake` when
        whoever listens to the channels is ready.
        """
        here = cast(Any, self)  # aiortc keeps two of its names private to the class
        here._RTCSctpTransport__started, here._RTCSctpTransport__state = True, "connecting"
        self._local_verification_tag = state.local_tag
        self._remote_verification_tag = state.remote_tag
        self._local_port, self._remote_port = state.local_port, state.remote_port
        self._remote_max_message_size = max_message_bytes
        self._resume_numbers(state)
        ours = outbound(state, reserve.sctp_chunks)
        self._local_tsn, self._outbound_stream_seq = ours.next_tsn, ours.sequences
        self._sent_queue.extend(ours.sent)
        self._hole_tsn = state.last_received_tsn if reserve.sctp_chunks else None
        for stream in state.inbound:
            known = self._inbound_streams[stream.stream_id] = InboundStream()
            known.sequence_number = stream.sequence
            known.reassembly = list(map(data_chunk, stream.chunks))
        channels = {channel.stream_id: self._channel(channel) for channel in state.channels}
        self._data_channels.update(channels)
        for message in state.unsent:
            channel = channels.get(message.stream_id)
            if channel is not None:
                channel._addBufferedAmount(len(message.data))
                self._data_channel_queue.append((channel, message.protocol, message.data))
        return list(channels.values())

    def wake(self) -> None:
        """Send what waits in a resumed association."""
        self._set_state(self.State.ESTABLISHED)
        self._update_advanced_peer_ack_point()
        run(self._transmit())

    def _resume_numbers(self, state: SctpState) -> None:
        self._last_sacked_tsn = state.last_sacked_tsn
        self._advanced_peer_ack_tsn = state.advanced_peer_ack_tsn
        self._last_received_tsn = state.last_received_tsn
        self._sack_misordered = set(state.misordered)
        self._advertised_rwnd = state.advertised_window
        self._ssthresh = state.slow_start_threshold
        self._remote_partial_reliability = state.partial_reliability
        self._remote_extensions = list(state.extensions)
        self._inbound_streams_count = state.inbound_streams
        self._outbound_streams_count = state.outbound_streams
        self._reconfig_request_seq = state.reconfig_request
        self._reconfig_response_seq = state.reconfig_response
        self._data_channel_id = state.next_channel_id

    def _channel(self, state: ChannelState) -> RTCDataChannel:
        parameters = RTCDataChannelParameters(
            label=state.label,
            maxPacketLifeTime=state.max_packet_lifetime_ms,
            maxRetransmits=state.max_retransmits,
            ordered=state.ordered,
            protocol=state.protocol,
            id=state.stream_id,
        )
        channel = RTCDataChannel(self, parameters, False)
        channel._setReadyState("open")
        return channel

    def _set_state(self, state: RTCSctpTransport.State) -> None:
        super()._set_state(state)
        if state is self.State.CLOSED and not self.ended:
            self._go_quiet()
            self._on_end()

    # What aiortc gives to the event loop by itself: timers, and coroutines that become tasks.

    def _fault(self, error: Exception) -> None:
        self._dropped[Counted.SCTP_FAULT] += 1
        self._on_fault(error)

    def _guard(self, step: Callable[[], None]) -> None:
        with Guard(self._fault):
            step()

    async def _guarded(self, step: Coroutine[Any, Any, None]) -> None:
        with Guard(self._fault):
            await step

    def _t1_expired(self) -> None:
        self._guard(super()._t1_expired)

    def _t2_expired(self) -> None:
        self._guard(super()._t2_expired)

    def _t3_expired(self) -> None:
        self._guard(super()._t3_expired)

    def _reconfig_timer_expired(self) -> None:
        self._guard(super()._reconfig_timer_expired)

    async def _send_chunk(self, chunk: Chunk) -> None:
        await self._guarded(super()._send_chunk(chunk))

    async def _send_reconfig_param(self, param: Any) -> None:
        await self._guarded(super()._send_reconfig_param(param))

    async def _transmit(self) -> None:
        await self._guarded(super()._transmit())

    async def _transmit_reconfig(self) -> None:
        await self._guarded(super()._transmit_reconfig())

    async def _data_channel_flush(self) -> None:
        await self._guarded(super()._data_channel_flush())

    def _forget_unsent(self) -> None:
        """Leave nothing to a transmission that is already scheduled: it would start a timer."""
        for queue in (self._outbound_queue, self._sent_queue, self._data_channel_queue):
            cast("Any", queue).clear()
        self._forward_tsn_chunk = None

    def _update_rto(self, R: float) -> None:  # noqa: N803  (aiortc's name)
        super()._update_rto(R)
        if self._srtt is not None and self._rttvar is not None:
            self._rto = max(RTO_MIN_S, min(self._srtt + 4 * self._rttvar, RTO_MAX_S))

    async def _receive_chunk(self, chunk: Chunk) -> None:
        if not self.ended:  # what is bundled behind an ABORT must not wake the association
            await super()._receive_chunk(chunk)

    async def _receive_data_chunk(self, chunk: DataChunk) -> None:
        if (reason := self._refusal(chunk.tsn)) is not None:
            self._dropped[reason] += 1
            return
        await super()._receive_data_chunk(chunk)
        if self._hole_tsn is not None:
            self._mind_hole(chunk.tsn)
        elif self._passed_hole:
            await self._deliver_behind(self._last_received_tsn or 0)

    async def _receive_forward_tsn_chunk(self, chunk: ForwardTsnChunk) -> None:
        # First, because aiortc throws away what came beyond the new point already when pieces of
        # what is passed over stand before it.
        ahead = (chunk.cumulative_tsn - (self._last_received_tsn or 0)) % _TSN_MODULO
        if 0 < ahead < _TSN_MODULO // 2:
            await self._deliver_behind(chunk.cumulative_tsn)
        await super()._receive_forward_tsn_chunk(chunk)

    async def _deliver_behind(self, tsn: int) -> None:
        """Tell the messages that waited for chunks up to `tsn` that will not come any more."""
        for stream in list(self._inbound_streams.values()):
            if stream.reassembly:
                messages, gone_bytes = pop_behind(stream, tsn)
                self._advertised_rwnd += gone_bytes + sum(len(data) for _, _, data in messages)
                for message in messages:
                    await self._receive(*message)

    # The hole that a dead owner left: what it acknowledged after its state was written.

    def _mind_hole(self, tsn: int) -> None:
        """Wait a while for what may yet fill the hole; it is none if the next chunk comes."""
        if self._last_received_tsn != self._hole_tsn:
            self._forget_hole()
            return
        if self._lowest_tsn is None or (tsn - self._lowest_tsn) % _TSN_MODULO > _TSN_MODULO // 2:
            self._lowest_tsn = tsn
        if self._hole_timer is None:
            self._hole_timer = asyncio.get_running_loop().call_later(
                HOLE_PATIENCE_S, self._guard, self._pass_hole
            )

    def _pass_hole(self) -> None:
        lowest = self._lowest_tsn
        self._forget_hole()
        if lowest is not None:
            self._dropped[Counted.SCTP_PASSED_OVER] += 1
            self._passed_hole = True
            self._last_received_tsn = (lowest - 1) % _TSN_MODULO
            self._sack_misordered.discard(lowest)
            self._mark_received(lowest)
            run(self._deliver_behind(self._last_received_tsn))
            run(self._send_sack())

    def _forget_hole(self) -> None:
        if self._hole_timer is not None:
            self._hole_timer.cancel()
        self._hole_timer = self._hole_tsn = self._lowest_tsn = None

    def _refusal(self, tsn: int) -> str | None:
        """Why a DATA chunk is treated as lost; a hole that nothing can fill ends it all."""
        if self._last_received_tsn is None:
            return Counted.SCTP_NO_ASSOCIATION
        ahead = (tsn - self._last_received_tsn) % _TSN_MODULO
        if MAX_TSN_AHEAD < ahead < _TSN_MODULO // 2:
            return Counted.SCTP_TSN
        if self._held_chunks >= 2 * MAX_HELD_CHUNKS:
            self.abort()
            return Counted.SCTP_HELD_LIMIT
        if self._held_chunks >= MAX_HELD_CHUNKS and ahead != 1:
            return Counted.SCTP_HELD_LIMIT
        return None

    async def _receive_sack_chunk(self, chunk: SackChunk) -> None:
        # aiortc walks every number of a gap block: none may lie beyond what was sent.
        outstanding = (self._local_tsn - 1 - chunk.cumulative_tsn) % _TSN_MODULO
        last_gap = chunk.gaps[-1][1] if chunk.gaps else 0
        if outstanding >= _TSN_MODULO // 2 or last_gap > outstanding:
            self._dropped[Counted.SCTP_SACK] += 1
            return
        await super()._receive_sack_chunk(chunk)

    async def _data_channel_receive(self, stream_id: int, pp_id: int, data: bytes) -> None:
        reason = self._message_refusal(stream_id, pp_id, data)
        if reason is not None:
            self._dropped[reason] += 1
            return
        try:
            await super()._data_channel_receive(stream_id, pp_id, data)
        except (UnicodeDecodeError, struct.error):
            self._dropped[Counted.SCTP_MESSAGE] += 1

    def _message_refusal(self, stream_id: int, pp_id: int, data: bytes) -> str | None:
        if len(data) > MAX_MESSAGE_BYTES:
            return Counted.SCTP_MESSAGE_SIZE
        if pp_id != WEBRTC_DCEP:
            return None if stream_id in self._data_channels else Counted.SCTP_NO_CHANNEL
        return self._control_refusal(stream_id, data)

    def _control_refusal(self, stream_id: int, data: bytes) -> str | None:
        """Why a channel's OPEN or ACK is not obeyed (RFC 8832 §5)."""
        known = stream_id in self._data_channels
        if data[0] == DATA_CHANNEL_ACK:
            return None if known else Counted.SCTP_NO_CHANNEL
        if data[0] != DATA_CHANNEL_OPEN or len(data) < 12:
            return Counted.SCTP_MESSAGE
        if known:
            return Counted.SCTP_CHANNEL_REOPENED
        if len(self._data_channels) >= MAX_CHANNELS:
            return Counted.SCTP_CHANNEL_LIMIT
        label_bytes, _protocol_bytes = struct.unpack_from("!HH", data, 8)
        return Counted.SCTP_LABEL if label_bytes > MAX_LABEL_BYTES else None


def _channel_state(stream_id: int, channel: RTCDataChannel) -> ChannelState:
    return ChannelState(
        stream_id=stream_id,
        label=channel.label,
        protocol=channel.protocol,
        ordered=channel.ordered,
        max_packet_lifetime_ms=channel.maxPacketLifeTime,
        max_retransmits=channel.maxRetransmits,
    )
