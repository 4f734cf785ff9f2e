"""Keys rotate in a transceiver while calls are up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from unittest.mock import Mock

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from fleet.admin.server import serve
from fleet.limits.call_limits import CallLimits
from tests.transceiver.caller import HOME, Caller
from tests.transceiver.engine import test_engine as kit
from transceiver.admin import SERVICE_NAME, AdminMoves, AdminNode, TransceiverAdmin
from transceiver.engine.engine import Engine
from trunkline.process.address import Address
from trunkline.v1 import admin_pb2, admin_pb2_grpc
from wire import token, trunk
from wire.errors import WireError
from wire.keys import KeyRing

engine = kit.engine
make_engine = kit.make_engine
make_relay = kit.make_relay
relay = kit.relay

BOTH = KeyRing(3, {3: b"T" * 32, 1: b"t" * 32})
NEW = KeyRing(3, {3: b"T" * 32})
BOTH_TRUNK = KeyRing(4, {4: b"K" * 32, 2: b"k" * 32})
NEW_TRUNK = KeyRing(4, {4: b"K" * 32})


async def talk(engine: Engine, relay: kit.Relay, caller: Caller, count: int) -> None:
    """Say something and hear it back, and have a check answered."""
    heard, answered = len(caller.heard), len(caller.responses)
    for _ in range(count):
        caller.say()
    caller.check()
    await kit.converse(
        relay,
        caller,
        lambda: len(caller.heard) >= heard + count and len(caller.responses) > answered,
    )


async def test_a_call_goes_on_while_keys_rotate(engine: Engine, relay: kit.Relay) -> None:
    """Old, both, new: sound and consent at each step; new calls have new tokens; old tags fail."""
    session, caller = await kit.connect(engine, relay)
    ufrag, password = session.local_ufrag, session.local_password
    engine.rotate(BOTH, BOTH_TRUNK)
    relay.tagger = trunk.Tagger(BOTH_TRUNK)
    await talk(engine, relay, caller, 3)
    engine.rotate(NEW, NEW_TRUNK)
    relay.tagger = trunk.Tagger(NEW_TRUNK)
    await talk(engine, relay, caller, 3)
    assert (session.local_ufrag, session.local_password) == (ufrag, password)
    with pytest.raises(WireError, match="token_key"):
        token.read(NEW, ufrag)
    later, _ = kit.make_call(engine)
    assert token.read(NEW, later.local_ufrag) == kit.ROUTE
    relay.tagger = trunk.Tagger(kit.TRUNK_KEYS)
    relay.up((HOME, b"\x80old"))
    await kit.until(lambda: engine.counters["trunk_key"] == 1)


async def test_one_ring_rotates_without_the_other(engine: Engine) -> None:
    """None leaves a ring as it is."""
    engine.rotate(BOTH, None)
    assert engine.key_rings == (BOTH, kit.TRUNK_KEYS)
    engine.rotate(None, NEW_TRUNK)
    assert engine.key_rings == (BOTH, NEW_TRUNK)


async def test_the_operator_rotates_keys(make_engine: Callable[..., Engine]) -> None:
    """RotateKeys answers with ids alone, logs who and why, and refuses bad text unquoted."""
    it = make_engine()
    node, limits = Mock(spec=AdminNode), Mock(spec=CallLimits)
    add = partial(
        admin_pb2_grpc.add_TransceiverAdminServicer_to_server,
        TransceiverAdmin(it, node, limits, Mock(spec=AdminMoves)),
    )
    server = await serve(Address("127.0.0.1", 0), [add], [SERVICE_NAME])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = admin_pb2_grpc.TransceiverAdminStub(channel)
        with capture_logs() as logged:
            answer = await stub.RotateKeys(
                admin_pb2.RotateKeysRequest(token_keys=BOTH.export(), why="leak")
            )
        assert (list(answer.token_key_ids), list(answer.trunk_key_ids)) == ([3, 1], [2])
        [line] = [entry for entry in logged if entry["event"] == "keys_rotated"]
        assert (str(line["who"]), line["why"]) == ("local", "leak")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.RotateKeys(admin_pb2.RotateKeysRequest(trunk_keys="abcd" * 20))
        assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "abcd" not in (failed.value.details() or "")
        assert it.key_rings == (BOTH, kit.TRUNK_KEYS)
    await server.close(grace_s=0)
    await asyncio.sleep(0)
