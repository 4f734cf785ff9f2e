"""A backend that was taken over: odd protobuf, floods, greetings without end."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import grpc
import grpc.aio

from loadtest.errors import CallFailedError, CallRefusedError
from loadtest.siege.call import hear, hostile_call
from loadtest.siege.ground import Ground
from trunkline.v1 import model_pb2

NAME = "hostile"
SERVICE = "trunkline.v1.ModelBackend"


def _said(*events: model_pb2.BackendEvent, **more: Any) -> bytes:
    return model_pb2.ToTransceiver(events=events, **more).SerializeToString()


def _event(call: int, **event: Any) -> model_pb2.BackendEvent:
    return model_pb2.BackendEvent(call=call, **event)


_WELCOME = _said(
    welcome=model_pb2.Welcome(
        protocol=1,
        backend="hostile " * 500,
        accepts=[model_pb2.AUDIO_FORMAT_OPUS, model_pb2.AUDIO_FORMAT_PCM16_24000],
    )
)


def _odd(call: int) -> list[bytes]:
    """What a taken-over backend says of a call it has."""
    frame = model_pb2.Audio(payload=os.urandom(80), duration=960)
    return [
        _said(_event(call, accepted=model_pb2.Accepted())),
        _said(*[_event(call, audio=frame)] * 500),
        _said(*[_event(call, clear=model_pb2.Clear())] * 20_000),
        _said(_event(call, audio=model_pb2.Audio(payload=bytes(4000), duration=0xFFFF_FFFF))),
        _said(_event(call, audio=model_pb2.Audio(payload=b"", duration=0))),
        _said(_event(call, data=model_pb2.Data(label="é" * 9000, text="x"))),
        _said(*[_event(call, data=model_pb2.Data(label="oai-events", text="x" * 9000))] * 50),
        _said(_event(call, usage=model_pb2.Usage(input_tokens=2**63, price=float("nan")))),
        _said(*[_event(number) for number in range(5000)]),
        _said(_event(call, refused=model_pb2.Refused(reason="x" * 100_000))),
        _said(leaving=True),
        _said(_event(call, hang_up=model_pb2.HangUp(reason="\n\x1b[31m"))),
        _WELCOME,
    ]


async def _connect(requests: AsyncIterator[bytes], context: Any) -> None:
    """One stream: greet, answer each call with everything above, now and then break."""
    await context.write(_WELCOME)
    async for data in requests:
        batch = model_pb2.ToBackend.FromString(data)
        for call in [event.call for event in batch.events if event.HasField("started")]:
            for message in _odd(call):
                await context.write(message)
                await asyncio.sleep(0.02)
            if call % 3 == 0:
                await context.write(b"\xff\xff\xff\xff")  # no protobuf at all
            if call % 3 == 1:
                return  # the stream ends, and the next greeting begins


@asynccontextmanager
async def hostile_backend() -> AsyncIterator[int]:
    """Serve on a free port for the length of the block; the port."""
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(_connect)  # bytes in, bytes out
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Connect": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def hostile_calls(ground: Ground) -> None:
    """Calls for that backend, one after another, so that it has somebody to speak to."""
    async with aiohttp.ClientSession() as session:
        for _ in itertools.count():
            with suppress(CallFailedError, CallRefusedError):
                ground.done["hostile backend"] += 1
                async with hostile_call(ground, session, NAME) as call:
                    for _ in range(20):
                        hear(call)
                        await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
