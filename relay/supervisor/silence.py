"""Which transceivers have fallen silent, as far as this relay can tell.

A transceiver that has calls says something every 20 ms, and that it is alive every 100 ms. Workers
write down when (`NodeTable.heard`). Who has carried traffic a moment ago and says nothing for
`SILENT_MS` is suspected; whether it is dead, others must find out (`fleet.suspicion`). One whose
last call has ended is silent too, and will answer them.

It may also be us who do not hear. So silence counts only from the moment since which every look
here was on time, and every worker's loop came round: a relay that stood still suspects nobody.

Pure: a table and `now` in, nodes out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relay.shared.nodes import NO_EPOCH, FlowOwner, NodeTable

LOOK_S = 0.05
SILENT_MS = 250  # two signs of life were missed, and some
CARRIED_MS = 5_000  # who was silent before that has no calls any more, or others have them
AGAIN_MS = 1_000  # between two suspicions of one node: a word may be lost
LATE_MS = 100  # of a look, or of a worker's beat, which comes every 50 ms
MOST_AT_ONCE = 64  # the rest at the next look


class Silence:
    """What one supervisor knows of its nodes' silence. Times are ms of the monotonic clock."""

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes
        self._looked_ms = self._sound_ms = 0
        self._said: dict[int, int] = {}  # node → when it was suspected last

    def __len__(self) -> int:
        return len(self._said)

    def look(self, now_ms: int, oldest_beat_ms: int) -> list[FlowOwner]:
        """Who is suspected now; `oldest_beat_ms` is when the latest of the workers came round."""
        was_late = max(now_ms - self._looked_ms, now_ms - oldest_beat_ms) > LATE_MS
        self._looked_ms = now_ms
        if was_late:
            self._sound_ms = now_ms
        if now_ms - self._sound_ms < SILENT_MS:
            return []
        self._said = {
            n: said_ms for n, said_ms in self._said.items() if now_ms - said_ms < AGAIN_MS
        }
        return self._suspected(now_ms)

    def _suspected(self, now_ms: int) -> list[FlowOwner]:
        silent = self._silent(now_ms)
        epochs = self._nodes.epochs(silent.astype(np.uint16))
        found = [
            FlowOwner(node, epoch)
            for node, epoch in zip(silent.tolist(), epochs.tolist(), strict=True)
            if epoch != NO_EPOCH and node not in self._said
        ][:MOST_AT_ONCE]
        self._said.update((owner.node, now_ms) for owner in found)
        return found

    def _silent(self, now_ms: int) -> npt.NDArray[np.int64]:
        """Indexes of nodes that were heard lately, and not now; 0 stands for never."""
        heard = self._nodes.heard
        age_ms = (np.uint32(now_ms & 0xFFFFFFFF) - heard).view(np.int32)
        silent = (heard != 0) & (age_ms >= SILENT_MS) & (age_ms < CARRIED_MS)
        indexes: npt.NDArray[np.int64] = silent.nonzero()[0]
        return indexes
