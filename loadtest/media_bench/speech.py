"""What callers say: Opus packets made once, of 20 ms or of 10 ms."""

from __future__ import annotations

import av
import numpy as np

from loadtest import sound
from loadtest.callers.opus_packets import BIT_RATE, encode
from loadtest.sound import SAMPLE_RATE_HZ

SHORT_SAMPLES = 480


def speech() -> list[bytes]:
    """Return the speech in packets of 20 ms."""
    return encode(sound.read_wav(sound.SPEECH))


def short_speech() -> list[bytes]:
    """Return the speech in packets of 10 ms.

    Sent 20 ms apart, their echoes are due before they come: nothing is ever paced, so what a
    frame takes from edge to edge is work and nothing else.
    """
    return _encode(SHORT_SAMPLES, {"frame_duration": "10"})


def speech_with_fec() -> list[bytes]:
    """Return the speech in packets of 20 ms that carry their predecessor too (RFC 6716 2.1.7)."""
    return _encode(sound.FRAME_SAMPLES, {"fec": "1", "packet_loss": "20", "application": "voip"})


def _encode(frame_samples: int, options: dict[str, str]) -> list[bytes]:
    codec = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = SAMPLE_RATE_HZ, "mono", "s16"
    codec.bit_rate, codec.options = BIT_RATE, options
    samples = sound.read_wav(sound.SPEECH)
    whole = samples[: len(samples) // frame_samples * frame_samples]
    packets: list[bytes] = []
    for index, piece in enumerate(whole.reshape(-1, frame_samples)):
        row = np.ascontiguousarray(piece.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(row, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, index * frame_samples
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets
