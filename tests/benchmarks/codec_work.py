"""The work of PCM calls without their sockets, with libopus on the loop's thread or on another.

Of each frame one thread opens the SRTP packet and protects the answer, and libopus decodes and
encodes between the two. That is less around libopus than the engine does, so a thread for it looks
better here than it would there.

As a program: `python -m tests.benchmarks.codec_work WAY CORES SECONDS` prints frames a second.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread

from loadtest.media_bench.speech import speech
from transceiver.opus import Codec, EncoderSettings
from transceiver.opus.direct import DirectCodec
from transceiver.opus.libopus import Libopus, places
from transceiver.transport.srtp import AEAD_AES_128_GCM, SrtpKeys, SrtpSession

CALLS = 240
RATE_HZ = 16_000
BATCH = 12  # frames that 240 calls have ready in a millisecond
AHEAD = 2  # batches on their way, so that neither thread waits for the other's last step
QUICK_SWITCHES_S = 0.0001
"""How soon a thread that waits for the interpreter gets it; Python's own 5 ms is much worse."""

Batch = list[tuple["Call", bytes]]


class Call:
    """One call's SRTP, both ends, and its codec."""

    def __init__(self, codec: Codec, number: int) -> None:
        keys = (bytes([number % 251]) * 28, bytes([number % 241 + 1]) * 28)
        self._caller = SrtpSession(SrtpKeys(AEAD_AES_128_GCM, *keys))
        self._ours = SrtpSession(SrtpKeys(AEAD_AES_128_GCM, *reversed(keys)))
        self._decoder = codec.decoder(RATE_HZ)
        self._encoder = codec.encoder(EncoderSettings.speech(RATE_HZ))
        self._sequence = 0

    def take_in(self, payload: bytes) -> bytes:
        """The Opus of a packet that came."""
        self._sequence += 1
        packet = self._caller.protect_rtp(self._header(payload))
        opened = self._ours.unprotect_rtp(packet)
        if opened is None:
            raise RuntimeError("the packet does not open")
        return opened[12:]

    def code(self, payload: bytes) -> bytes:
        """What libopus does for a frame: sound of it, and a packet of that sound."""
        return self._encoder.encode(self._decoder.decode(payload))

    def give_out(self, payload: bytes) -> bytes:
        """The packet that leaves."""
        return self._ours.protect_rtp(self._header(payload))

    def _header(self, payload: bytes) -> bytes:
        sequence = self._sequence & 0xFFFF
        return struct.pack("!BBHII", 0x80, 111, sequence, self._sequence * 960, 1) + payload


def open_codec(loader: type[ctypes.CDLL]) -> Codec:
    """libopus, its calls holding the interpreter (PyDLL) or letting it go (CDLL).

    Raises OSError when there is no libopus.
    """
    for place in places():
        try:
            return DirectCodec(Libopus(loader(place)))
        except (OSError, AttributeError):
            continue
    raise OSError("no libopus on this machine")


def batches(calls: Sequence[Call], payloads: Sequence[bytes], until_s: float) -> Iterator[Batch]:
    """What is ready, millisecond by millisecond: each call's next packet in turn."""
    number = 0
    while time.perf_counter() < until_s:
        batch: Batch = []
        for _ in range(BATCH):
            call = calls[number % len(calls)]
            batch.append((call, call.take_in(payloads[number // len(calls) % len(payloads)])))
            number += 1
        yield batch


def on_the_loop(seconds: float) -> float:
    """Frames a second, everything on one thread."""
    calls = [Call(open_codec(ctypes.PyDLL), number) for number in range(CALLS)]
    frames, start_s = 0, time.perf_counter()
    for batch in batches(calls, speech(), start_s + seconds):
        for call, payload in batch:
            call.give_out(call.code(payload))
        frames += len(batch)
    return frames / (time.perf_counter() - start_s)


def on_a_thread(seconds: float) -> float:
    """Frames a second, libopus on a thread that takes whole batches."""
    codec = open_codec(ctypes.CDLL)
    calls = [Call(codec, number) for number in range(CALLS)]
    frames, waiting = 0, 0
    with _coder() as (ready, done):
        start_s = time.perf_counter()
        for batch in batches(calls, speech(), start_s + seconds):
            ready.put(batch)
            waiting += 1
            if waiting > AHEAD:
                frames += _give_out(done.get())
                waiting -= 1
        for _ in range(waiting):
            frames += _give_out(done.get())
        return frames / (time.perf_counter() - start_s)


@contextmanager
def _coder() -> Iterator[tuple[SimpleQueue[Batch | None], SimpleQueue[Batch]]]:
    ready: SimpleQueue[Batch | None] = SimpleQueue()
    done: SimpleQueue[Batch] = SimpleQueue()

    def work() -> None:
        while (batch := ready.get()) is not None:
            done.put([(call, call.code(payload)) for call, payload in batch])

    thread = Thread(target=work)
    before = sys.getswitchinterval()
    sys.setswitchinterval(QUICK_SWITCHES_S)
    thread.start()
    try:
        yield ready, done
    finally:
        ready.put(None)
        thread.join()
        sys.setswitchinterval(before)


def _give_out(batch: Batch) -> int:
    for call, payload in batch:
        call.give_out(payload)
    return len(batch)


WAYS = {"loop": on_the_loop, "thread": on_a_thread}


def main(way: str, cores: str, seconds: str) -> None:
    """Measure one way on the cores (separated by commas)."""
    os.sched_setaffinity(0, map(int, cores.split(",")))
    sys.stdout.write(f"{WAYS[way](float(seconds))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
