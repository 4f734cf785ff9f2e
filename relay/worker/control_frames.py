"""What a transceiver says to the worker itself: claims, and that it is alive."""

from __future__ import annotations

from datagram.mmsg import U64
from relay.shared.counters import Counter, Counts, drop
from relay.worker.answers import Answers
from relay.worker.claims import Claims
from wire import claim, trunk
from wire.errors import WireError
from wire.trunk import FrameType


class ControlFrames:
    """Takes datagrams whose sender is admitted. A claim that is refused spoils no other."""

    def __init__(self, claims: Claims, answers: Answers, counts: Counts) -> None:
        self._claims = claims
        self._answers = answers
        self._counts = counts

    def take(self, datagram: bytes, name: U64, now_ms: int) -> None:
        """Do what a datagram from that socket name asks for.

        Raises WireError as `wire.trunk.parse`, also for one that is not for a relay.
        """
        read = trunk.parse(datagram)
        if read.first is FrameType.CLAIM:
            self._claim(read.frames, name, now_ms)
        elif read.first is FrameType.ALIVE:
            self._counts[Counter.SIGNS_OF_LIFE] += 1
        else:
            raise WireError("trunk_frame_type")

    def _claim(self, frames: tuple[tuple[bytes, bytes], ...], name: U64, now_ms: int) -> None:
        done = [frame for frame in frames if self._carry_out(frame, now_ms)]
        if done:
            self._answers.add(done, name, now_ms)

    def _carry_out(self, frame: tuple[bytes, bytes], now_ms: int) -> bool:
        try:
            self._claims.carry_out(claim.read(*frame), now_ms)
        except WireError as error:
            self._counts[drop(error.reason)] += 1
            return False
        return True
