"""What a codec does for a call, whichever library it uses."""

from __future__ import annotations

from typing import Protocol

from transceiver.opus.settings import EncoderSettings

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
FRAME_DURATIONS = (120, 240, 480, 960, 1920, 2880)  # of one packet, 48 kHz ticks (RFC 6716 §2.1.4)
SAMPLE_BYTES = 2


class Decoder(Protocol):
    """One stream of Opus into signed 16-bit little-endian mono; it remembers what came before.

    Nothing a packet holds makes it raise. `duration` counts 48 kHz ticks.
    """

    def decode(self, packet: bytes) -> bytes:
        """The sound of a packet; b"" when it is no Opus packet."""

    def recover(self, following: bytes, duration: int) -> bytes:
        """The sound of a lost packet from the in-band FEC of the next, or concealed as well as can
        be (RFC 6716 §2.1.7)."""

    def conceal(self, duration: int) -> bytes:
        """Sound in the place of what is lost, or comfort noise after a DTX packet."""


class Encoder(Protocol):
    """One stream of signed 16-bit little-endian mono into Opus."""

    def encode(self, pcm: bytes) -> bytes:
        """The packet for one frame, of a length in FRAME_DURATIONS. Raises ValueError for others.

        A packet of one or two bytes is DTX's: there is nothing to hear.
        """

    def expect_loss(self, percent: int) -> None:
        """How many packets the network loses: what in-band FEC is measured out by."""


class Codec(Protocol):
    """A library that makes both. `name` is fit for logs."""

    name: str

    def decoder(self, rate_hz: int) -> Decoder:
        """A fresh decoder. Raises ValueError for a rate that is not in RATES_HZ."""

    def encoder(self, settings: EncoderSettings) -> Encoder:
        """A fresh encoder."""


def samples(duration: int, rate_hz: int) -> int:
    """How many samples `duration` 48 kHz ticks are."""
    return duration * rate_hz // 48_000


def duration(pcm: bytes, rate_hz: int) -> int:
    """How long 16-bit mono plays, in 48 kHz ticks; 0 when it is not a frame Opus can carry."""
    ticks, rest = divmod(len(pcm) * 48_000, SAMPLE_BYTES * rate_hz)
    return ticks if not rest and ticks in FRAME_DURATIONS else 0


def check_rate(rate_hz: int) -> int:
    """The rate. Raises ValueError when Opus has no such rate."""
    if rate_hz not in RATES_HZ:
        raise ValueError(f"{rate_hz} Hz is not one of {RATES_HZ}")
    return rate_hz
