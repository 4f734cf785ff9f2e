"""What a worker shows beside its counters: latencies, voice health, the last orders done.

    word 0            number of the last order done (`relay.shared.orders`)
    words 8 …         latency, up;  then latency, down   (`Latency`)
    then              voice health, one record for each watched flow (`relay.shared.voice`)

It lies in shared memory: the worker writes, the supervisor reads, nobody waits.
"""

from __future__ import annotations

from relay.shared.latency import Latency
from relay.shared.voice import VoiceTable

_LATENCIES_AT = 8


class Telemetry:
    """The columns over one buffer of `SIZE_BYTES`."""

    SIZE_BYTES = 8 * (_LATENCIES_AT + 2 * Latency.WORDS + VoiceTable.WORDS)

    def __init__(self, buffer: memoryview) -> None:
        words = buffer[: self.SIZE_BYTES].cast("B").cast("Q")
        self._words = words
        down_at = _LATENCIES_AT + Latency.WORDS
        voice_at = down_at + Latency.WORDS
        self.up = Latency(words[_LATENCIES_AT:down_at])
        self.down = Latency(words[down_at:voice_at])
        self.voice = VoiceTable(words[voice_at:])

    @property
    def order(self) -> int:
        """Number of the last order the worker has carried out; 0 before the first."""
        return self._words[0]

    def carried_out(self, order: int) -> None:
        """The worker has done what orders up to this number ask for."""
        self._words[0] = order
