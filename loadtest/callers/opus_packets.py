"""Opus packets made once, so that a light caller encodes nothing while it calls."""

from __future__ import annotations

import av
import numpy as np

from loadtest.sound import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, in_frames

BIT_RATE = 32_000


def encode(sound: Samples) -> list[bytes]:
    """Encode sound as Opus packets of 20 ms."""
    codec = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = SAMPLE_RATE_HZ, "mono", "s16"
    codec.bit_rate = BIT_RATE
    packets: list[bytes] = []
    for index, samples in enumerate(in_frames(sound)):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, index * FRAME_SAMPLES
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets
