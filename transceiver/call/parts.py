"""What one call is made of: transport, sound and messages. Made new, or from a state.

    CallTransport ── keys ──▶ AudioStream ── frames ──▶ CallVoice
                  ── SCTP ──▶ CallMessages

What is exported of a call and resumed elsewhere is here. Its session (`call.session`) says when.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from transceiver.call.host import Host
from transceiver.call.messages import CallMessages
from transceiver.call.offer import Offer
from transceiver.call.transport import CallTransport
from transceiver.call.voice import CallVoice
from transceiver.counters import Counted
from transceiver.faults import every_step
from transceiver.rtp.audio import AudioStream
from transceiver.rtp.ear_since import EarSince
from transceiver.takeover.session_state import (
    AudioState,
    DtlsPart,
    IceState,
    Reserve,
    SctpState,
    SessionState,
    WaitingMessage,
)
from transceiver.transport.dtls import Role


class PartsState(NamedTuple):
    """The parts as values: the fields of `SessionState` by the same names."""

    ice: IceState
    dtls: DtlsPart
    audio: AudioState
    sctp: SctpState | None
    waiting: tuple[WaitingMessage, ...]
    messages_received: int
    messages_sent: int
    sideband_opening: str
    sidebands: int
    sideband_missed: tuple[str, ...]


class CallParts:
    """One call's parts. `heard` takes the caller's messages, `fault` what raises."""

    def __init__(
        self,
        call_id: str,
        offer: Offer,
        transport: CallTransport,
        host: Host,
        unix_s: float,
        heard: Callable[[str, str | bytes], None],
        fault: Callable[[Exception], None],
    ) -> None:
        self.transport = transport
        self.audio = AudioStream(
            offer.audio.payload_type,
            call_id,
            unix_s - host.now(),
            random.random,
            offer.audio.red_payload_type,
        )
        self.voice = CallVoice(call_id, offer.audio, self.audio, host.count)
        self.messages = CallMessages(
            offer.data, Role(offer.dtls_role), transport.send_data, heard, host.count, fault
        )
        self._count = host.count

    def export(self, now: float, relay_of: Callable[[bytes], bytes]) -> PartsState:
        """The parts as values. Raises RuntimeError unless there are keys."""
        sctp, waiting = self.messages.export()
        return PartsState(
            ice=self.transport.ice.export(now, relay_of),
            dtls=self.transport.export_dtls(),
            audio=self.audio.export(now),
            sctp=sctp,
            waiting=waiting,
            messages_received=self.messages.received,
            messages_sent=self.messages.sent,
            sideband_opening=self.messages.sidebands.opening,
            sidebands=self.messages.sidebands.expected,
            sideband_missed=self.messages.sidebands.missed,
        )

    def resume(self, state: SessionState, exported_s: float, now: float, reserve: Reserve) -> None:
        """Let sound and messages of another process's call flow. Raises ValueError."""
        audio = state.audio
        if self.voice.audio_format != state.link.audio_format:  # what is queued is of another kind
            audio = replace(audio, send=replace(audio.send, queue=()))
        self.audio.resume(audio, exported_s, now, reserve)
        self.voice.credit_anew()
        self.voice.ear = EarSince(self.audio.sender, *state.link.ear)
        self.messages.received, self.messages.sent = state.messages_received, state.messages_sent
        self.messages.resume(state.sctp, state.waiting, reserve)

    def leave(self) -> None:
        """Stop without a word: another process goes on."""
        every_step(self.transport.leave, self.audio.stop, self.messages.leave)

    def collect_counters(self) -> None:
        """Count what the parts counted for themselves; once, at the end."""
        audio, count = self.audio, self._count
        _collect(audio.dropped, count)
        _collect(self.messages.dropped(), count)
        _collect(self.transport.dropped(), count)
        count(Counted.RTP_RECEIVED, audio.received)
        count(Counted.RTP_SENT, audio.sender.packets)
        count(Counted.RTP_LOST, audio.lost)
        count(Counted.RTP_LATE, audio.late)
        count(Counted.RTP_DUPLICATE, audio.duplicates)
        count(Counted.RTP_RECOVERED, audio.recovered)
        count(Counted.RTP_UP_LEFT_OUT, audio.left_out)
        count(Counted.RTP_DOWN_LEFT_OUT, audio.sender.left_out)
        if self.voice.malformed:
            count(Counted.OPUS_MALFORMED, self.voice.malformed)


def _collect(reasons: Counter[str], count: Callable[[str, int], None]) -> None:
    for reason, amount in reasons.items():
        count(reason, amount)
    reasons.clear()
