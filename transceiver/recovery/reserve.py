"""How far the counters of a call jump when its owner was lost: further, the older its checkpoint.

An owner may have sent at its full rate since the checkpoint, and it may send on while nobody hears
it: until its consent ends (RFC 7675: 30 s), if it was cut off. No number that it may have used may
be used again with the same key, or a reader of both packets has the difference of their contents.

    RTP     two packets in the shortest frame at most (`transceiver.rtp.send`): 800 a second. A
            receiver follows a jump of less than 2^15 (RFC 3711 §3.3.1), so it is 31 s of them
    RTCP    a report in 1.25 s at most (`transceiver.rtp.reports`), for twice 30 s
    DTLS    30,000 records a second, more than a process can encrypt; numbers have 48 bits
    SCTP    nothing is encrypted by these numbers. A receiver follows a jump of less than 2^15
            messages (RFC 9260 §6.6), and of what lies between it is told that it will not come
"""

from __future__ import annotations

import math
from dataclasses import replace

from transceiver.takeover.session_state import Reserve, SctpState, SessionState

MAX_AGE_S = 30.0
RTP_A_SECOND = 1024
LEAST_RTP = 4096  # of one that was cut off: 30 s at 100 packets, and what it catches up
MOST_RTP = 31 * RTP_A_SECOND
RTCP = 64
DTLS = 1 << 20
SCTP_A_SECOND = 4096
MOST_SCTP = 0x7000


def reserve_for(age_s: float) -> Reserve:
    """What to reserve for a checkpoint of that age.

    Clocks may differ, so one that seems to come from the future is as old as it is early. Raises
    ValueError above MAX_AGE_S: no reserve would be enough.
    """
    if not abs(age_s) <= MAX_AGE_S:
        raise ValueError(f"a checkpoint is good for {MAX_AGE_S:g} s")
    seconds = math.ceil(abs(age_s)) + 1  # one more for what it sends while it is fenced
    return Reserve(
        rtp_packets=max(LEAST_RTP, min(MOST_RTP, RTP_A_SECOND * seconds)),
        rtcp_packets=RTCP,
        dtls_records=DTLS,
        sctp_chunks=min(MOST_SCTP, SCTP_A_SECOND * seconds),
    )


def advanced(state: SessionState, reserve: Reserve, unix_s: float) -> SessionState:
    """The call as a checkpoint of its next owner, who has reserved that much and sent nothing yet.

    Who goes on from it reserves anew, and uses no number of an owner before.
    """
    audio, dtls = state.audio, state.dtls
    sequence, first = audio.send.sequence, audio.send.first_sequence
    further = reserve.rtp_packets
    send = replace(audio.send, sequence=sequence + further, first_sequence=first + further)
    srtp = replace(audio.srtp, rtcp_sent=audio.srtp.rtcp_sent + reserve.rtcp_packets)
    records = dtls.next_write_sequence + reserve.dtls_records
    return replace(
        state,
        unix_s=unix_s,
        audio=replace(audio, send=send, srtp=srtp),
        dtls=replace(dtls, next_write_sequence=records),
        sctp=state.sctp and _sctp_further(state.sctp, reserve.sctp_chunks),
    )


def _sctp_further(state: SctpState, chunks: int) -> SctpState:
    if not state.partial_reliability:  # as `transceiver.takeover.resumed_sctp`
        return state
    sequences = ((stream, (n + chunks) & 0xFFFF) for stream, n in state.outbound_sequences)
    tsn = (state.local_tsn + chunks) & 0xFFFF_FFFF
    return replace(state, local_tsn=tsn, outbound_sequences=tuple(sequences))
