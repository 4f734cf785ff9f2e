"""A call as it stands in the store: a sealed text, and the session as a second one. Pure.

    state     version ‖ zlib of the call as a value, without what is put once or comes again
    session   what the backend was told of it, which never changes and may be long

Both are sealed (`fleet.seal`) under the owner and the call, so that neither can stand for another
call, nor for the same call at an owner before. The time is inside. What the backend sent and nobody
has heard yet is not: the backend has it still, and sends it to whoever resumes the call.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from fleet.calls.owner import Owner
from fleet.calls.redis_checkpoints import LARGEST_TEXT, Stored
from fleet.seal import BrokenSeal, Keys, Seal
from transceiver.recovery.refusal import Refusal, Refused
from transceiver.recovery.reserve import MAX_AGE_S
from transceiver.takeover.session_state import MAX_STATE_BYTES, SessionState, StateUnreadable
from transceiver.takeover.session_state import read as read_state
from transceiver.takeover.session_state import write as write_state

PURPOSE = "checkpoint"
VERSION = b"1"
_FASTEST = 1  # zlib's level: 20 µs, and the text is half as long


class TooLarge(Exception):  # noqa: N818 - a state of the call
    """The call holds more than a checkpoint may: messages that nobody takes."""


class Checkpoints:
    """Writes and reads the checkpoints of one cluster, sealed with the ring that `keys` gives."""

    def __init__(self, keys: Keys, cluster: int) -> None:
        self._seal = Seal(keys, PURPOSE, cluster, largest=LARGEST_TEXT)

    def write(self, owner: Owner, state: SessionState) -> Stored:
        """A call of `owner`, without its session. Raises TooLarge."""
        packed = VERSION + zlib.compress(write_state(_without_the_rest(state)), _FASTEST)
        return Stored(state.call_id, self._sealed(_name(owner, state.call_id), packed), "")

    def write_session(self, owner: Owner, state: SessionState) -> str:
        """What the backend was told of it. Raises TooLarge."""
        name = _name(owner, state.call_id, b"/session")
        return self._sealed(name, zlib.compress(state.link.session_json.encode(), _FASTEST))

    def write_whole(self, owner: Owner, state: SessionState) -> Stored:
        """Both texts. Raises TooLarge."""
        return self.write(owner, state)._replace(session=self.write_session(owner, state))

    def read(self, owner: Owner, stored: Stored, unix_s: float) -> SessionState:
        """The call that `owner` had. Raises Refused for what cannot go on from it."""
        packed = self._opened(_name(owner, stored.call_id), stored.state)
        if packed[:1] != VERSION:
            raise Refused(Refusal.VERSION)
        state = _state(_unpacked(packed[1:]))
        if state.call_id != stored.call_id:
            raise Refused(Refusal.UNREADABLE)
        if not abs(unix_s - state.unix_s) <= MAX_AGE_S:
            raise Refused(Refusal.TOO_OLD)
        session = self._opened(_name(owner, stored.call_id, b"/session"), stored.session)
        link = replace(state.link, session_json=_text(_unpacked(session)))
        return replace(state, link=link)

    def _sealed(self, name: bytes, content: bytes) -> str:
        sealed = self._seal.seal(name, content)
        if len(sealed) > LARGEST_TEXT:
            raise TooLarge
        return sealed

    def _opened(self, name: bytes, sealed: str) -> bytes:
        try:
            return self._seal.open(name, sealed)
        except BrokenSeal:
            raise Refused(Refusal.UNREADABLE) from None


def _without_the_rest(state: SessionState) -> SessionState:
    send, link = state.audio.send, state.link
    if send.queue:
        state = replace(state, audio=replace(state.audio, send=replace(send, queue=())))
    return replace(state, link=replace(link, session_json=""))


def _name(owner: Owner, call_id: str, part: bytes = b"") -> bytes:
    return f"{owner}/{call_id}".encode("utf-8", "surrogateescape") + part


def _state(content: bytes) -> SessionState:
    try:
        return read_state(content)
    except StateUnreadable as error:
        other = str(error).startswith("version")
        raise Refused(Refusal.VERSION if other else Refusal.UNREADABLE) from None


def _unpacked(packed: bytes) -> bytes:
    """At most MAX_STATE_BYTES of it: what is longer is no state."""
    try:
        return zlib.decompressobj().decompress(packed, MAX_STATE_BYTES)
    except zlib.error:
        raise Refused(Refusal.UNREADABLE) from None


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Refused(Refusal.UNREADABLE) from None
