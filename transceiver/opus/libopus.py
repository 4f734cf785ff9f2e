"""Finds libopus and calls it. Only this file uses ctypes.

PyAV's wheel carries a libopus, to which FFmpeg links, under a name with a hash in it. A later wheel
may change that name. So the library of the system is tried next, and without one PyAV's own
interface is used.

The calls hold the GIL (`PyDLL`): they last 15 to 200 µs, and giving the lock away would let the
loop wait for a whole switch interval to get it back.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

MAX_SAMPLES = 5_760  # 120 ms at 48 kHz
_SCRATCH_BYTES = 2 * MAX_SAMPLES
_SONAMES = ("libopus.so.0", "libopus.0.dylib")
_POINTER, _INT, _BYTES = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_PROTOTYPES: dict[str, tuple[type | None, list[type]]] = {
    "opus_get_version_string": (_BYTES, []),
    "opus_decoder_get_size": (_INT, [_INT]),
    "opus_decoder_init": (_INT, [_POINTER, ctypes.c_int32, _INT]),
    "opus_decode": (_INT, [_POINTER, _BYTES, ctypes.c_int32, _POINTER, _INT, _INT]),
    "opus_encoder_get_size": (_INT, [_INT]),
    "opus_encoder_init": (_INT, [_POINTER, ctypes.c_int32, _INT, _INT]),
    "opus_encoder_ctl": (_INT, [_POINTER, _INT, ctypes.c_int32]),
    "opus_encode": (_INT, [_POINTER, _BYTES, _INT, _POINTER, ctypes.c_int32]),
}


class Libopus:
    """A loaded library. Its calls write into one `scratch`, so they are for one thread at a time.

    Raises AttributeError when the library lacks a function.
    """

    def __init__(self, loaded: ctypes.CDLL) -> None:
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
        self.version: str = loaded.opus_get_version_string().decode()
        self.scratch = bytearray(_SCRATCH_BYTES)
        self.scratch_at = ctypes.addressof(
            (ctypes.c_char * _SCRATCH_BYTES).from_buffer(self.scratch)
        )
        self.decode: Callable[[int, bytes | None, int, int, int, int], int] = loaded.opus_decode
        self.encode: Callable[[int, bytes, int, int, int], int] = loaded.opus_encode
        self.encoder_ctl: Callable[[int, int, int], int] = loaded.opus_encoder_ctl
        self.decoder_init: Callable[[int, int, int], int] = loaded.opus_decoder_init
        self.encoder_init: Callable[[int, int, int, int], int] = loaded.opus_encoder_init
        self.decoder_bytes: int = loaded.opus_decoder_get_size(1)
        self.encoder_bytes: int = loaded.opus_encoder_get_size(1)


def places() -> Iterator[str]:
    """Where a libopus may be, best first."""
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        yield from map(str, sorted((package.parent / "av.libs").glob("libopus-*.so*")))
        yield from map(str, sorted((package / ".dylibs").glob("libopus.*.dylib")))
    yield from _SONAMES


def load(candidates: Iterable[str]) -> Libopus | None:
    """The first that loads and has every function; None when none does."""
    for candidate in candidates:
        try:
            return Libopus(ctypes.PyDLL(candidate))
        except (OSError, AttributeError):
            continue
    return None
