"""Opus to PCM and back, for backends that want PCM: by libopus, or by PyAV without it.

    codec = open_codec()
    codec.decoder(16_000).decode(packet)          → 16-bit little-endian mono
    codec.encoder(EncoderSettings(16_000)).encode(pcm) → one packet

Measured on one core, a 20 ms frame of speech at 16 kHz: libopus by ctypes 15–22 µs to decode and
66–82 µs to encode (complexity 1; 190–400 at 5); PyAV with its resampler 47–72 µs to decode, and
150–217 µs to encode where libopus itself took 130–190. PyAV also has no concealment and no in-band
FEC. cffi instead of ctypes gains 0.5 to 1.5 µs of 15, which is not worth a dependency.

The work stays on the event loop: a thread for it carries 1.02 times the frames on the same core and
1.10 times with a second one, which as a process carries 1.98 (docs/decisions/0012). Inline, the
frames of a call stay in order by themselves, and another call's frame waits for a tenth of a
millisecond at a time.
"""

from __future__ import annotations

from functools import cache

from transceiver.opus import libopus
from transceiver.opus.codec import Codec, Decoder, Encoder
from transceiver.opus.direct import DirectCodec
from transceiver.opus.settings import BackendWishes, EncoderSettings
from transceiver.opus.through_av import AvCodec

__all__ = ["BackendWishes", "Codec", "Decoder", "Encoder", "EncoderSettings", "open_codec"]


@cache
def open_codec() -> Codec:
    """The best codec this machine has."""
    found = libopus.load(libopus.places())
    return AvCodec() if found is None else DirectCodec(found)
