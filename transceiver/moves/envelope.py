"""What the old owner sends with a call: who it is, and the call as a value, sealed. Pure.

The seal (`fleet.seal`) is bound to the move and to the process that is to open it. A call holds the
keys of its caller's media, and the network between Pods is not ours alone.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from fleet.seal import BrokenSeal, Keys, Seal
from transceiver.takeover.session_state import SessionState, StateUnreadable, read, write

PURPOSE = "move"
MAX_ENVELOPE_BYTES = 1024 * 1024  # some 5 KiB for a usual call; messages nobody takes make it long
MAX_CONTENT_BYTES = 4 * 1024 * 1024  # unpacked

_HEAD = struct.Struct("!I")  # the sender number of the old owner
_FASTEST = 1  # zlib's level


class Unreadable(Exception):  # noqa: N818 - a verdict on foreign bytes
    """No call for this process, or of a version that it does not read; the text quotes nothing."""


class TooLarge(Exception):  # noqa: N818 - a state of the call
    """The call holds more than an envelope takes."""


@dataclass(frozen=True)
class Envelope:
    """A call on its way; `owner` is the sender number of the process that has it."""

    owner: int
    state: SessionState = field(repr=False)


class Envelopes:
    """Seals and opens them in one cluster, with the ring that `keys` gives."""

    def __init__(self, keys: Keys, cluster: int) -> None:
        self._seal = Seal(keys, PURPOSE, cluster, largest=MAX_ENVELOPE_BYTES)

    def write(self, move: str, target: int, envelope: Envelope) -> bytes:
        """The call for the process with the sender number `target`. Raises TooLarge."""
        packed = zlib.compress(write(envelope.state), _FASTEST)
        content = _HEAD.pack(envelope.owner) + packed
        sealed = self._seal.seal(_name(move, target), content)
        if len(sealed) > MAX_ENVELOPE_BYTES:
            raise TooLarge
        return sealed.encode()

    def read(self, move: str, target: int, sealed: bytes) -> Envelope:
        """The call in an envelope for `target`. Raises Unreadable."""
        try:
            content = self._seal.open(_name(move, target), sealed.decode("ascii"))
            (owner,) = _HEAD.unpack_from(content)
            return Envelope(owner, read(_unpacked(content[_HEAD.size :])))
        except (BrokenSeal, UnicodeDecodeError, struct.error, zlib.error):
            raise Unreadable("not sealed for this process") from None
        except StateUnreadable as error:
            raise Unreadable(str(error)) from None


def _name(move: str, target: int) -> bytes:
    return f"{move}\n{target}".encode()


def _unpacked(packed: bytes) -> bytes:
    """At most MAX_CONTENT_BYTES. Raises StateUnreadable beyond."""
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(packed, MAX_CONTENT_BYTES)
    if unpacking.unconsumed_tail:
        raise StateUnreadable(f"more than {MAX_CONTENT_BYTES} bytes")
    return content
