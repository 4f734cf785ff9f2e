"""Decides from the caller's reports when a packet also carries the one before.

    a report of 2 % loss or more        → each packet carries the frame before it too (RFC 2198)
    CLEAN_REPORTS in a row below 1 %    → plain Opus again

It doubles the rate of a voice, and saves every loss that is not followed by another. Both
payload types are negotiated, so they may alternate packet by packet.
"""

from __future__ import annotations

from transceiver.rtp import red
from transceiver.rtp.opus import MAX_PACKET_BYTES
from transceiver.rtp.red import Block

ON_FRACTION = 5  # of 256, as reports count: 2 %
OFF_FRACTION = 3  # below it: 1 %
CLEAN_REPORTS = 3  # about 15 s of Chrome's reports
# A packet as long as the longest plain one fits wherever that fits.
MAX_RED_BYTES = MAX_PACKET_BYTES


class Redundancy:
    """The payloads of one outgoing stream. `red_payload_type` None: it is never on.

    `loss_percent` is the caller's last word.
    """

    def __init__(self, payload_type: int, red_payload_type: int | None = None) -> None:
        self.on = False
        self.loss_percent = 0
        self._payload_type = payload_type
        self._red_payload_type = red_payload_type
        self._clean = 0
        self._before: tuple[int, bytes] | None = None  # timestamp and payload of the packet before

    def note_report(self, fraction_lost: int) -> None:
        """Take the fraction lost of a report, in 1/256."""
        self.loss_percent = fraction_lost * 100 // 256
        self._clean = self._clean + 1 if fraction_lost < OFF_FRACTION else 0
        if fraction_lost >= ON_FRACTION:
            self.on = self._red_payload_type is not None
        elif self._clean >= CLEAN_REPORTS:
            self.on = False

    def forget(self) -> None:
        """The next packet does not follow the one before: a frame between them is not sent."""
        self._before = None

    def wrap(self, payload: bytes, timestamp: int) -> tuple[int, bytes]:
        """Payload type and payload of a packet; `timestamp` may be longer than 32 bits."""
        before, self._before = self._before, (timestamp, payload)
        if not self.on or before is None or self._red_payload_type is None:
            return self._payload_type, payload
        offset, earlier = timestamp - before[0], before[1]
        if not _fits(offset, earlier, payload):
            return self._payload_type, payload
        copy = Block(self._payload_type, offset, earlier)
        return self._red_payload_type, red.write((copy,), self._payload_type, payload)


def _fits(offset: int, earlier: bytes, payload: bytes) -> bool:
    size_bytes = red.BLOCK_HEADER_BYTES + 1 + len(earlier) + len(payload)
    short = 0 < offset <= red.MAX_OFFSET and len(earlier) <= red.MAX_BLOCK_BYTES
    return short and size_bytes <= MAX_RED_BYTES
