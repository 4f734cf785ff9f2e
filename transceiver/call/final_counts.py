"""What a call adds to the counters of its process when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from transceiver.counters import Counted
from transceiver.rtp.audio import AudioStream

Count = Callable[[str, int], None]


def count_audio(audio: AudioStream, malformed: int, count: Count) -> None:
    """The totals of both directions of its sound; `malformed` packets were no Opus."""
    count(Counted.RTP_RECEIVED, audio.received)
    count(Counted.RTP_SENT, audio.sender.packets)
    count(Counted.RTP_LOST, audio.lost)
    count(Counted.RTP_LATE, audio.late)
    count(Counted.RTP_DUPLICATE, audio.duplicates)
    count(Counted.RTP_RECOVERED, audio.recovered)
    count(Counted.RTP_UP_LEFT_OUT, audio.left_out)
    count(Counted.RTP_DOWN_LEFT_OUT, audio.sender.left_out)
    if malformed:
        count(Counted.OPUS_MALFORMED, malformed)


def collect(dropped: Iterable[Counter[str]], count: Count) -> None:
    """Take over what its parts dropped, by reason."""
    for reasons in dropped:
        for reason, amount in reasons.items():
            count(reason, amount)
        reasons.clear()
