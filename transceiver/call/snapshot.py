"""One call as an operator sees it at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.redact import redact_network
from transceiver.call.messages import CallMessages
from transceiver.rtp import opus
from transceiver.rtp.audio import AudioStream
from wire.address import unpack_address


@dataclass(frozen=True)
class CallSnapshot:
    """The fields of `Call` in admin.proto, by the same names."""

    call_id: str
    state: str
    started_unix_ms: int
    backend: str
    surface: str
    packets_received: int
    packets_sent: int
    packets_lost: int
    jitter_ms: float
    round_trip_ms: float
    queued_frames: int
    messages_received: int
    messages_sent: int
    client_network: str  # redacted to its prefix; empty while no address is known

    @classmethod
    def of(
        cls,
        call_id: str,
        state: str,
        started_unix_ms: int,
        backend: str,
        surface: str,
        audio: AudioStream,
        messages: CallMessages,
        address: bytes | None,
    ) -> CallSnapshot:
        """As its parts are now; `address` is the caller's (18 bytes)."""
        jitter = audio.heard.jitter if audio.heard else 0.0
        return cls(
            call_id=call_id,
            state=state,
            started_unix_ms=started_unix_ms,
            backend=backend,
            surface=surface,
            packets_received=audio.received,
            packets_sent=audio.sender.packets,
            packets_lost=audio.lost,
            jitter_ms=jitter * 1000 / opus.CLOCK_HZ,
            round_trip_ms=(audio.round_trip_s or 0.0) * 1000,
            queued_frames=len(audio.sender),
            messages_received=messages.received,
            messages_sent=messages.sent,
            client_network=redact_network(unpack_address(address)[0]) if address else "",
        )
