"""The events that the handler of a call gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trunkline.v1 import model_pb2

FRAME_TICKS = 960  # 20 ms on the clock of 48 kHz


class AudioFormat(IntEnum):
    """How `Audio.payload` is written, both ways; numbered as in model.proto."""

    OPUS = model_pb2.AUDIO_FORMAT_OPUS  # the caller's own packets, untouched
    PCM16_8000 = model_pb2.AUDIO_FORMAT_PCM16_8000  # signed 16-bit little-endian mono
    PCM16_16000 = model_pb2.AUDIO_FORMAT_PCM16_16000
    PCM16_24000 = model_pb2.AUDIO_FORMAT_PCM16_24000
    PCM16_48000 = model_pb2.AUDIO_FORMAT_PCM16_48000

    @property
    def rate_hz(self) -> int:
        """Samples a second; 48,000 for Opus, whose clock that is (RFC 7587 §4.1)."""
        return 48_000 if self is AudioFormat.OPUS else int(self.name.removeprefix("PCM16_"))

    @property
    def frame_bytes(self) -> int:
        """Bytes in 20 ms of PCM. Raises ValueError for Opus, whose packets have any size."""
        if self is AudioFormat.OPUS:
            raise ValueError("a packet of Opus has no fixed size")
        return self.rate_hz // 50 * 2


@dataclass(slots=True)
class Audio:
    """One frame of the caller's speech.

    `rtp_time` and `duration` count 48 kHz ticks (`rtp_time` wraps at 2³²); a gap between frames is
    sound that never arrived, and `lost` says how many packets it was.
    """

    payload: bytes
    rtp_time: int
    duration: int
    lost: int


@dataclass(slots=True)
class Text:
    """A text message from the caller's data channel `label`.

    `from_server`: the application's server said it on a side band, and not the caller.
    """

    label: str
    text: str
    from_server: bool = False


@dataclass(slots=True)
class Binary:
    """A binary message from the caller's data channel `label`."""

    label: str
    content: bytes


@dataclass(slots=True)
class Playout:
    """How far the caller's ear is, in frames that this call's handler sent since it began.

    `sent` left for the caller, `acked` were reported received, `cleared` were forgotten by `clear`,
    `queued` still wait to be played; `clears` counts the clears carried out.
    """

    sent: int = 0
    acked: int = 0
    cleared: int = 0
    queued: int = 0
    clears: int = 0

    @classmethod
    def of(cls, report: model_pb2.Playout) -> Playout:
        """As it comes over the model link."""
        return cls(
            report.sent_frames,
            report.acked_frames,
            report.cleared_frames,
            report.queued_frames,
            report.clears,
        )


@dataclass(frozen=True, slots=True)
class Network:
    """What the network between the caller and the transceiver costs.

    `round_trip_ms` is None until the caller has reported on something it was sent. `packets` of the
    caller came since the call began, and waited `waited_ms` in the jitter buffer, all together.
    """

    round_trip_ms: float | None = None
    packets: int = 0
    waited_ms: float = 0.0

    def wait_since(self, before: Network) -> float | None:
        """What a packet waited in the mean since `before`, in ms; None when none came."""
        packets = self.packets - before.packets
        return (self.waited_ms - before.waited_ms) / packets if packets > 0 else None


Event = Audio | Text | Binary | Playout
