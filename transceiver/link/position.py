"""How far a call is with its backend, as a value that goes with the call to its next owner."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from trunkline.v1 import model_pb2

TOKEN_BYTES = 16  # of a resume_token


@dataclass(frozen=True)
class Position:
    """What has passed between a call and its backend; counted as model.proto's Resume says.

    `token` is what the backend knows the call by; empty: the backend holds no calls. `clears` of
    the backend were carried out. `instance` is the process of the backend; empty: it did not say.
    """

    token: bytes = field(default=b"", repr=False)
    taken_events: int = 0
    sent_events: int = 0
    clears: int = 0
    instance: str = ""

    @classmethod
    def first(cls, instance: str) -> Position:
        """Of a new call."""
        return cls(secrets.token_bytes(TOKEN_BYTES), instance=instance)

    @property
    def resumable(self) -> bool:
        """Whether the backend held the call when its stream broke."""
        return bool(self.token)

    def resume(self, *, exact: bool) -> model_pb2.Resume:
        """What the next owner says of it; `exact`: the one before stopped by itself."""
        return model_pb2.Resume(
            taken_events=self.taken_events, sent_events=self.sent_events, exact=exact
        )


NOWHERE = Position()
