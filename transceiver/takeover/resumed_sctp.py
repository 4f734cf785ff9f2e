"""Goes on with an SCTP association: what is sent again, skipped, or given up.

Theory of operation. If the old owner stopped before it exported, the numbers of both sides are
true, and only what was not acknowledged is sent once more. If it died some time after the export,
both directions have a stretch that nobody remembers:

    ours     ── acknowledged ──┤ in the state ├── sent since, unknown ──┤
             sent once more, by their old numbers ─▲    FORWARD TSN ─▲ passes over the rest, and
                                                                       new numbers begin behind it
    theirs   ── received ──┤ received since, acknowledged, gone ├── what they send next
             a hole that is never filled: after HOLE_PATIENCE_S ─▲ it is passed over

So of the messages of that stretch each arrives once or not at all, the order holds, and what comes
later is whole. Passing over our own stretch needs a peer with RFC 3758; libwebrtc follows.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from aiortc.rtcsctptransport import (
    SCTP_DATA_FIRST_FRAG,
    SCTP_DATA_LAST_FRAG,
    SCTP_DATA_UNORDERED,
    DataChunk,
    InboundStream,
)

from transceiver.takeover.session_state import ChunkState, SctpState

# A peer that waits for an acknowledgement sends its oldest chunk again after its RTO, 0.4 to 1 s
# for a path of speech. What came first by then is the oldest there is.
HOLE_PATIENCE_S = 1.5

Message = tuple[int, int, bytes]  # stream identifier, payload protocol, content

_WHOLE = SCTP_DATA_FIRST_FRAG | SCTP_DATA_LAST_FRAG


class Outbound(NamedTuple):
    """Our side of a resumed association: numbers to go on with, and the queue of what was sent."""

    next_tsn: int
    sequences: dict[int, int]
    sent: list[DataChunk]


def outbound(state: SctpState, reserve_chunks: int) -> Outbound:
    """What to go on with; up to `reserve_chunks` chunks and messages may have been sent since.

    A peer without partial reliability cannot be told to pass over anything, so its numbers go on
    as they were.
    """
    again = [_again(chunk) for chunk in state.unacknowledged]
    if not reserve_chunks or not state.partial_reliability:
        return Outbound(state.local_tsn, dict(state.outbound_sequences), again)
    sequences = {
        stream: (sequence + reserve_chunks) & 0xFFFF
        for stream, sequence in state.outbound_sequences
    }
    next_tsn = (state.local_tsn + reserve_chunks) & 0xFFFF_FFFF
    return Outbound(next_tsn, sequences, again + _passed_over(next_tsn, sequences))


def _again(state: ChunkState) -> DataChunk:
    """A chunk as aiortc keeps it when it is to be sent again."""
    chunk: Any = data_chunk(state)
    chunk._abandoned = chunk._acked = chunk._in_flight = False
    chunk._retransmit, chunk._misses = True, 0
    chunk._sent_count = 2  # its round trip cannot be told (RFC 9260 §6.3.1 C5)
    chunk._book_size, chunk._sent_time = len(state.data), None
    chunk._expiry, chunk._max_retransmits = state.expiry_unix_s, state.max_retransmits
    return cast(DataChunk, chunk)


def _passed_over(next_tsn: int, sequences: dict[int, int]) -> list[DataChunk]:
    """Abandoned chunks, one a stream: they make aiortc tell the peer where to go on."""
    tsn = (next_tsn - 1) & 0xFFFF_FFFF
    ends = [(stream, (sequence - 1) & 0xFFFF) for stream, sequence in sequences.items()]
    return [
        *(_abandoned(ChunkState(_WHOLE, tsn, stream, end, 0, b"")) for stream, end in ends),
        _abandoned(ChunkState(_WHOLE | SCTP_DATA_UNORDERED, tsn, 0, 0, 0, b"")),
    ]


def _abandoned(state: ChunkState) -> DataChunk:
    chunk: Any = _again(state)
    chunk._abandoned, chunk._retransmit = True, False
    return cast(DataChunk, chunk)


def pop_behind(stream: InboundStream, cumulative_tsn: int) -> tuple[list[Message], int]:
    """The messages of a stream that can be told, and the bytes of those that cannot be any more.

    Every chunk up to `cumulative_tsn` has come, or is gone with the process that had it.
    """
    messages: list[Message] = []
    gone_bytes = 0
    while True:
        gone = _hopeless(stream.reassembly, cumulative_tsn)
        gone_bytes += sum(len(chunk.user_data) for chunk in stream.reassembly[:gone])
        del stream.reassembly[:gone]
        _catch_up(stream, cumulative_tsn)
        found = list(stream.pop_messages())
        messages += found
        if not gone and not found:
            return messages, gone_bytes


def _hopeless(chunks: list[DataChunk], cumulative_tsn: int) -> int:
    """How many chunks the first message has that lacks one which is gone; 0 if none does."""
    if not chunks or not _reached(chunks[0].tsn, cumulative_tsn):
        return 0
    if not chunks[0].flags & SCTP_DATA_FIRST_FRAG:
        return 1
    expected = chunks[0].tsn
    for count, chunk in enumerate(chunks):
        if chunk.tsn != expected:
            return count if _reached(expected, cumulative_tsn) else 0
        if chunk.flags & SCTP_DATA_LAST_FRAG:
            return 0
        expected = (expected + 1) & 0xFFFF_FFFF
    return len(chunks) if _reached(expected, cumulative_tsn) else 0


def _catch_up(stream: InboundStream, cumulative_tsn: int) -> None:
    """Expect the first message there is: those before it are gone."""
    if not stream.reassembly:
        return
    first = stream.reassembly[0]
    if first.flags & SCTP_DATA_UNORDERED or not _reached(first.tsn, cumulative_tsn):
        return
    if 0 < (first.stream_seq - stream.sequence_number) & 0xFFFF < 0x8000:
        stream.sequence_number = first.stream_seq


def _reached(tsn: int, cumulative_tsn: int) -> bool:
    return (cumulative_tsn - tsn) & 0xFFFF_FFFF < 0x8000_0000


def chunk_state(chunk: DataChunk) -> ChunkState:
    """A DATA chunk as a value."""
    return ChunkState(
        flags=chunk.flags,
        tsn=chunk.tsn,
        stream_id=chunk.stream_id,
        stream_seq=chunk.stream_seq,
        protocol=chunk.protocol,
        data=chunk.user_data,
        max_retransmits=getattr(chunk, "_max_retransmits", None),
        expiry_unix_s=getattr(chunk, "_expiry", None),
    )


def data_chunk(state: ChunkState) -> DataChunk:
    """A DATA chunk from its value."""
    chunk = DataChunk()
    chunk.flags, chunk.tsn = state.flags, state.tsn
    chunk.stream_id, chunk.stream_seq = state.stream_id, state.stream_seq
    chunk.protocol, chunk.user_data = state.protocol, state.data
    return chunk
