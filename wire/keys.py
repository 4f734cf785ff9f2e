"""Key rings: several keys are valid at once, so keys can be rotated without dropping a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

KEY_BYTES = 32


@dataclass(frozen=True)
class KeyRing:
    """Keys by id; new things are signed with `current`, old ones verify with any that is left.

    Rotation: add the new key everywhere, then make it current everywhere, then retire the old one
    when nothing signed with it can still be alive.
    """

    current: int
    keys: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a ring without its current key, or a key of the wrong length."""
        if self.current not in self.keys:
            raise ValueError(f"the ring has no key with the current id {self.current}")
        for key_id, key in self.keys.items():
            if not 0 <= key_id <= 15:
                raise ValueError(f"key id {key_id} is not within 0 to 15")
            if len(key) != KEY_BYTES:
                raise ValueError(f"key {key_id} has {len(key)} bytes, not {KEY_BYTES}")

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read `1:HEX,2:HEX`; the first is current. Raises ValueError without quoting a key."""
        keys: dict[int, bytes] = {}
        for item in text.split(","):
            key_id, _, hex_key = item.strip().partition(":")
            try:
                number, key = int(key_id), bytes.fromhex(hex_key)
            except ValueError:
                raise ValueError("each key is written ID:HEX, with 64 hex digits") from None
            if number in keys:
                raise ValueError(f"key id {number} stands twice")
            keys[number] = key
        return cls(current=next(iter(keys)), keys=keys)

    def export(self) -> str:
        """The text `parse` reads: secret, for a channel that only we read."""
        ids = [self.current, *(key_id for key_id in self.keys if key_id != self.current)]
        return ",".join(f"{key_id}:{self.keys[key_id].hex()}" for key_id in ids)
