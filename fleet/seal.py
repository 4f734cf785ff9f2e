"""Seals what this fleet writes into a store that others may read and write.

    sealed text   key id "." base64url of AES-SIV (RFC 5297) over the content

A seal is bound to a purpose, to the cluster and to the name of its record. So nobody can invent a
record, read it, or put it in the place of another. A seal says nothing about time. A record that
must not come back later carries its own time, and `fresh` judges that.

The keys are derived (HKDF, RFC 5869) from those that sign route tokens: all relays and transceivers
have them, and a retired one outlives whatever was sealed with it. AES-SIV needs no nonce, so no
count of writes can wear a key out; equal contents under one name look equal, and no more is shown.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wire.keys import KeyRing

LARGEST_SEALED = 4096  # characters; ours have a few hundred
MAX_AGE_MS = 30_000  # as the trunk's datagrams (`wire.replay`), so clocks need to be no better

Keys = Callable[[], KeyRing]
"""The ring as it is now: it changes while the process runs."""

_NAME_BYTES = 16


class BrokenSeal(ValueError):  # noqa: N818 - says what happened
    """Not sealed by this fleet, for this purpose, under this name."""


class Seal:
    """The seals of one purpose in one cluster. `keys` gives the ring at each use.

    What is longer than `largest` characters is not opened.
    """

    def __init__(
        self, keys: Keys, purpose: str, cluster: int, largest: int = LARGEST_SEALED
    ) -> None:
        self._keys = keys
        self._purpose = purpose.encode()
        self._cluster = str(cluster).encode()
        self._largest = largest
        self._ring: KeyRing | None = None
        self._derived: dict[int, _Derived] = {}

    def seal(self, name: bytes, content: bytes) -> str:
        """`content` as it may stand in the store under `name`."""
        derived = self._by_id()
        current = self._keys().current
        sealed = derived[current].cipher.encrypt(content, [self._cluster, name])
        return f"{current}.{base64.urlsafe_b64encode(sealed).decode()}"

    def open(self, name: bytes, sealed: object) -> bytes:
        """The content of what stands under `name`. Raises BrokenSeal for anything else."""
        if not isinstance(sealed, str) or len(sealed) > self._largest or not sealed.isascii():
            raise BrokenSeal("not a sealed text")
        key_id, _, body = sealed.partition(".")
        derived = self._by_id().get(int(key_id)) if key_id in _KEY_IDS else None
        if derived is None:
            raise BrokenSeal("sealed with a key that is not in the ring")
        try:
            return derived.cipher.decrypt(_decoded(body), [self._cluster, name])
        except (InvalidTag, ValueError):
            raise BrokenSeal("the seal is broken") from None

    def hidden_names(self, name: bytes) -> list[str]:
        """32 hex digits that stand for `name`, under each key of the ring, the current one first.

        Whoever reads the store cannot tell the name from them, nor try names out.
        """
        derived, current = self._by_id(), self._keys().current
        order = [current, *(key_id for key_id in derived if key_id != current)]
        return [derived[key_id].hide(self._cluster, name) for key_id in order]

    def _by_id(self) -> dict[int, _Derived]:
        ring = self._keys()
        if ring is not self._ring:
            self._ring = ring
            self._derived = {i: _Derived(key, self._purpose) for i, key in ring.keys.items()}
        return self._derived


def fresh(at_ms: int, now_ms: int, max_age_ms: int = MAX_AGE_MS) -> bool:
    """Whether a time inside a seal is close to now; clocks may differ by MAX_AGE_MS either way."""
    return -MAX_AGE_MS <= now_ms - at_ms <= max_age_ms


_KEY_IDS = frozenset(map(str, range(16)))


class _Derived:
    """What one key of the ring becomes for one purpose."""

    def __init__(self, key: bytes, purpose: bytes) -> None:
        material = HKDF(SHA512(), 128, salt=None, info=b"trunkline seal " + purpose).derive(key)
        self.cipher = AESSIV(material[:64])
        self._hiding = material[64:]

    def hide(self, cluster: bytes, name: bytes) -> str:
        return blake2b(cluster + b":" + name, key=self._hiding, digest_size=_NAME_BYTES).hexdigest()


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode(body, altchars=b"-_", validate=True)
    except binascii.Error:
        raise BrokenSeal("the seal is broken") from None
