"""API keys as settings write them: `KEY`, or `TENANT:KEY` for keys that share their calls.

A bearer token has no colon (RFC 6750 §2.1), so what stands before one is a tenant. A key without
one is a tenant by itself, under its id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256

ID_DIGITS = 10
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class ApiKey:
    """A key, and the tenant whose calls it may touch. `id` is what it is called where it must not
    be shown: limits, logs, metrics."""

    tenant: str
    key: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read `KEY` or `TENANT:KEY`. Raises ValueError without quoting any of it."""
        head, colon, rest = text.strip().partition(":")
        if not colon and head:
            return cls(key_id(head), head)
        if not _TENANT.fullmatch(head) or not rest or rest != rest.strip():
            raise ValueError("each key is written KEY or TENANT:KEY, none of them empty")
        return cls(head, rest)

    @property
    def id(self) -> str:
        """`k_` and ten hex digits; not a secret."""
        return key_id(self.key)


def key_id(key: str) -> str:
    """The id of a key: the same in every process, and of no use to whoever reads it."""
    digest = sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    return "k_" + digest[:ID_DIGITS]
