"""What a backend that sends PCM may ask of the transceiver's Opus encoder."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.v1 import model_pb2

SMALLEST_BPS, LARGEST_BPS = 6_000, 510_000  # RFC 7587 §6.1, maxaveragebitrate
MAX_COMPLEXITY = 10


@dataclass(frozen=True)
class OpusEncoder:
    """Bits a second, effort (0–10), in-band FEC, DTX; None leaves it to the transceiver.

    OpusEncoder in model.proto says how these meet the caller's own wishes. Raises ValueError for a
    value out of range.
    """

    bitrate_bps: int | None = None
    complexity: int | None = None
    fec: bool | None = None
    dtx: bool | None = None

    def __post_init__(self) -> None:
        if self.bitrate_bps is not None and not SMALLEST_BPS <= self.bitrate_bps <= LARGEST_BPS:
            raise ValueError(f"bitrate_bps is not within {SMALLEST_BPS} and {LARGEST_BPS}")
        if self.complexity is not None and not 0 <= self.complexity <= MAX_COMPLEXITY:
            raise ValueError(f"complexity is not within 0 and {MAX_COMPLEXITY}")

    def message(self) -> model_pb2.OpusEncoder:
        """As it goes over the model link."""
        return model_pb2.OpusEncoder(
            bitrate_bps=self.bitrate_bps, complexity=self.complexity, fec=self.fec, dtx=self.dtx
        )


NO_WISHES = OpusEncoder()
