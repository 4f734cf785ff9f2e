"""How late sound becomes on time again: which packets a decoder does not get.

A decoder of Opus is its own cross-fade: it predicts each frame from the sound before it, whatever
that was, and overlaps the two. So a packet may be left out with its number and its time, as if it
had never been, and nothing clicks; the same cut in the sound itself clicks every time (figures in
`docs/decisions`). What is left out, while sound is owed:

    quiet, as the encoder's voice detector says   three in four, but the first two of each pause
    voice                                         one in five: sound a quarter faster than spoken
    owed beyond `WORTH_S`                         all of it, the quiet first, then the oldest

The last takes what could not be caught up within two seconds.
"""

from __future__ import annotations

from transceiver.rtp import opus

LEAST_S = 0.12  # to begin with: less is jitter, or is hurried by the rhythm in two seconds
WORTH_S = 0.35  # a quarter faster, this takes 1.4 s
KEPT_QUIET = 2  # packets of a pause: words must not run together
ONE_QUIET_IN = 4
ONE_VOICED_IN = 5


class CatchUp:
    """What is owed, and which packets go for it. Pure."""

    def __init__(self) -> None:
        self.owed_s = 0.0
        self._words = True  # whether words may go for it
        self._quiet = 0  # packets in a row
        self._voiced = 0  # packets since one was left out

    def owe(self, late_s: float, least_s: float = LEAST_S, *, words: bool = True) -> None:
        """Sound is late by so much, measured now; less than `least_s` is not worth a start.

        Without `words` only quiet goes.
        """
        self._words = words
        self.owed_s = late_s if self.owed_s or late_s >= least_s else 0.0

    def leaves_out(self, packet: bytes, duration_s: float) -> bool:
        """Whether this packet, the next in order, is to be left out; it is then paid for."""
        if duration_s > self.owed_s:
            self.owed_s = 0.0
            return False
        leaves = self._is_spare(packet)
        if leaves:
            self.owed_s -= duration_s
        return leaves

    def _is_spare(self, packet: bytes) -> bool:
        if opus.is_quiet(packet):
            self._quiet += 1
            return is_spare_quiet(self._quiet)
        self._quiet = 0
        self._voiced += self._words
        if self._voiced < ONE_VOICED_IN:
            return False
        self._voiced = 0
        return True


def is_spare_quiet(number: int) -> bool:
    """Whether quiet packet `number` of a pause, counted from 1, can be done without."""
    return number > KEPT_QUIET and (number - KEPT_QUIET) % ONE_QUIET_IN > 0
