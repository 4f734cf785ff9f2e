"""A backend as a value: who answers a call, and what transceivers learn about it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from trunkline.backend.call import Call
from trunkline.backend.encoder import NO_WISHES, OpusEncoder
from trunkline.backend.events import AudioFormat
from trunkline.v1 import model_pb2

PROTOCOL = 1  # of the model link, model.proto
INSTANCE = secrets.token_hex(8)  # of this process: its calls are held nowhere else

Handler = Callable[[Call], Awaitable[None]]


@dataclass(frozen=True)
class Backend:
    """One async handler for every call, and the terms on which calls come.

    `accepts` are the formats of the sound, best first. `max_calls` bounds the calls of each
    transceiver process; 0 means no bound but the transceivers' own. `encoder` is asked of the
    transceiver for calls in PCM. `around` makes what is entered before the first call and left
    after the last: models, clients. Without a `name` it is called as its handler.
    Raises ValueError when no format is accepted.
    """

    handler: Handler
    name: str = ""
    accepts: tuple[AudioFormat, ...] = (AudioFormat.OPUS,)
    max_calls: int = 0
    encoder: OpusEncoder = NO_WISHES
    around: Callable[[], AbstractAsyncContextManager[object]] = nullcontext

    def __post_init__(self) -> None:
        if not self.accepts:
            raise ValueError("a backend accepts at least one format")
        if not self.name:
            own = getattr(self.handler, "__name__", "backend")
            object.__setattr__(self, "name", own)  # frozen, and not yet anybody's

    @classmethod
    def of(cls, backend: Backend | Handler) -> Backend:
        """A handler alone is a backend on the terms above."""
        return backend if isinstance(backend, Backend) else cls(backend)

    def welcome(self, hold_ms: int) -> model_pb2.ToTransceiver:
        """The first message of a stream; a call waits `hold_ms` for whoever resumes it."""
        return model_pb2.ToTransceiver(
            welcome=model_pb2.Welcome(
                protocol=PROTOCOL,
                backend=self.name,
                accepts=[model_pb2.AudioFormat.ValueType(audio) for audio in self.accepts],
                max_calls=self.max_calls,
                hold_ms=hold_ms,
                instance=INSTANCE,
            )
        )
