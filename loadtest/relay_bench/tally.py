"""The counts that a C peer keeps in shared memory, read while it runs."""

from __future__ import annotations

import mmap
import os

import numpy as np
import numpy.typing as npt

MAX_STREAMS = 8
MAX_SINKS = 8
HISTOGRAM_SLOTS = 1 << 18
HISTOGRAM_STEP_US = 0.25
MAX_FLOWS = 1 << 18
SAMPLES = 64
SAMPLE_BYTES = 2048

LOAD = np.dtype(
    [
        *((name, np.uint64) for name in ("recording", "running", "exhausted", "window_full")),
        *((name, np.uint64) for name in ("rounds", "window_lost", "stalls", "unsent")),
        ("sent", np.uint64, (MAX_STREAMS,)),
        *((name, np.uint64) for name in ("datagrams", "frames", "bytes", "stamped")),
        *((name, np.uint64) for name in ("unstamped", "last_ns", "max_gap_ns", "stop")),
        ("by_sink", np.uint64, (MAX_SINKS,)),
        ("histogram", np.uint64, (HISTOGRAM_SLOTS,)),
        ("flow_first_ns", np.uint64, (MAX_FLOWS,)),
        ("flow_frames", np.uint64, (MAX_FLOWS,)),
        ("sample_bytes", np.uint32, (SAMPLES,)),
        ("samples", np.uint8, (SAMPLES, SAMPLE_BYTES)),
    ]
)
"""`struct tally` of load.c; what the fields mean stands there."""

FORWARDER = np.dtype(
    [(name, np.uint64) for name in ("up_packets", "down_packets", "flows", "unknown", "unsent")]
)
"""`struct tally` of forwarder.c."""


class Tally:
    """One peer's counts over shared memory; `fd` is for the peer to inherit."""

    def __init__(self, layout: np.dtype[np.void]) -> None:
        self.fd = os.memfd_create("tally")
        # A page more than it takes: the forwarder maps whole ones.
        size = -(-layout.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self.fd, size)
        self._row = np.frombuffer(mmap.mmap(self.fd, size), layout, count=1)

    def count(self, name: str) -> int:
        """The number called `name`, now."""
        return int(self._row[name][0])

    def counts(self, name: str) -> npt.NDArray[np.uint64]:
        """The numbers called `name`; they go on changing."""
        numbers: npt.NDArray[np.uint64] = self._row[name][0]
        return numbers

    def put(self, name: str, value: int) -> None:
        """Write one number or, all alike, several."""
        self._row[name] = value

    def samples(self) -> list[bytes]:
        """Some of the datagrams that the sink took, whole."""
        sizes, slots = self._row["sample_bytes"][0], self._row["samples"][0]
        return [slot[:size].tobytes() for slot, size in zip(slots, sizes, strict=True) if size]

    def close(self) -> None:
        """Let go of the memory's descriptor; the counts can still be read."""
        os.close(self.fd)


def quantile_us(histogram: npt.NDArray[np.uint64], fraction: float) -> float:
    """The latency that `fraction` of the packets do not exceed, to `HISTOGRAM_STEP_US`.

    Raises ValueError for an empty histogram.
    """
    sums = histogram.cumsum()
    if not sums.size or not sums[-1]:
        raise ValueError("a quantile needs at least one packet")
    rank = max(1, int(np.ceil(fraction * float(sums[-1]))))
    return (int(np.searchsorted(sums, rank)) + 1) * HISTOGRAM_STEP_US
