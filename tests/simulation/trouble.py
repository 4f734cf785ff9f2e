"""What goes wrong in a fleet. Each does it, waits, and puts right what heals by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from relay.shared.nodes import FlowOwner
from tests.relay.kit import ufrag
from tests.simulation.place import Keys, new_posts
from tests.simulation.vanishing_store import State
from tests.simulation.weather import CALLERS, STORM
from tests.simulation.world import World
from wire import stun, trunk
from wire.address import pack_address
from wire.claim import NOBODY
from wire.keys import KeyRing
from wire.trunk import Tagger

Trouble = Callable[[World], Coroutine[Any, Any, None]]

_FLOOD_PACKETS = 150
_STRANGERS = [pack_address(f"203.0.113.{host}", 5000 + host) for host in range(40)]


async def worker_dies(world: World) -> None:
    """A worker is killed; its successor comes to the same sockets and the same memory."""
    relay, desk = world.relay, world.any_desk()
    if not (relay and desk and desk.worker):
        return
    desk.worker.die()
    desk.worker = None
    await asyncio.sleep(world.chance.uniform(0.005, 0.15))
    if world.relay is relay:
        relay.fill(desk)


async def relay_dies(world: World) -> None:
    """All of it, with its memory, its sockets and what they held; another comes to the address."""
    relay = world.relay
    if relay is None or world.retiring:
        return
    world.relay, world.posts = None, []
    await world.close_relay(relay)
    for caller in world.callers:
        if world.holder(caller) != caller.call.owner:
            # Its claim was this relay's memory. The store may know its flow; here it is over.
            world.dial(caller)
    await asyncio.sleep(world.chance.uniform(0.05, 0.5))
    world.posts = new_posts(world.chance, world.scene.workers)
    world.salt = world.chance.getrandbits(32)
    world.open_relay()


async def relay_is_upgraded(world: World) -> None:
    """A successor shares the sockets for a moment; the memory of the old one stays readable."""
    old = world.relay
    if old is None or world.retiring or not all(desk.worker for desk in old.desks):
        return
    world.retiring = old
    old.read_too(world.open_relay(predecessor=old))
    await asyncio.sleep(world.chance.uniform(0.01, 0.3))
    await world.close_relay(old)
    world.retiring = None


async def store_goes_away(world: World) -> None:
    """Connections are refused for a while."""
    await _store_is(world, State.AWAY)


async def store_hangs(world: World) -> None:
    """Commands are taken and not answered for a while."""
    await _store_is(world, State.HANGS)


async def store_forgets(world: World) -> None:
    """A restart without persistence."""
    await _store_is(world, State.AWAY)
    world.store.forget()


async def _store_is(world: World, state: State) -> None:
    world.store.become(state)
    await asyncio.sleep(world.chance.uniform(0.1, 1.5))
    world.store.become(State.UP)


async def caller_rebinds(world: World) -> None:
    """A NAT gives a caller another address; the old one is free for somebody else."""
    caller = world.any_caller()
    if world.free_addresses:
        address = world.free_addresses.pop(world.chance.randrange(len(world.free_addresses)))
        world.free_addresses.append(caller.address)
        caller.address = address


async def address_is_reused(world: World) -> None:
    """A caller gets the address that another had; a copy of the other's check comes late."""
    first, second = world.any_caller(), world.any_caller()
    if first is second or not world.free_addresses:
        return
    checks = [p for p, check in world.ledger.checks.items() if check.address == first.address]
    if checks:
        world.later(world.chance.uniform(0.05, 1), world.arrive_public, first.address, checks[-1])
    freed, first.address = first.address, world.free_addresses.pop(0)
    world.free_addresses.append(second.address)
    second.address = freed


async def caller_dials_again(world: World) -> None:
    """From the same address another call begins, perhaps on another node."""
    world.dial(world.any_caller())


async def node_moves(world: World) -> None:
    """A transceiver gets another trunk address; the relay hears of it a moment later."""
    node = world.any_node()
    node.address = pack_address("10.0.2.1", world.chance.randrange(1024, 65536))
    world.later(world.chance.uniform(0, 0.1), world.tell_relay, node.owner.node)


async def node_is_replaced(world: World) -> None:
    """An index gets a new owner: its calls are over, and their callers dial again."""
    old = world.any_node()
    epoch = (old.owner.epoch + 1) % 65536
    new = world.add_transceiver(FlowOwner(old.owner.node, epoch))
    if world.chance.random() < 0.5:
        new.address = old.address  # a restart in place
    world.later(world.chance.uniform(0, 0.1), world.tell_relay, old.owner.node)
    await asyncio.sleep(world.chance.uniform(0.1, 0.6))
    for caller in world.callers:
        if world.holder(caller) == old.owner:
            world.dial(caller)


async def call_moves(world: World) -> None:
    """A planned move: the owner falls silent, and then another goes on and claims the call."""
    caller, posts = world.any_caller(), world.posts
    old = world.transceiver(world.holder(caller))
    new = world.any_node()
    if old is None or old is new or world.relay is None:
        return
    knows_address, call, address = caller.address in old.verified, caller.call, caller.address
    old.give_away(caller, new.number)
    await asyncio.sleep(world.chance.uniform(0, 0.03))
    if caller.call is not call:
        return
    if world.posts is not posts or world.transceiver(new.owner) is not new:
        world.dial(caller)
        return
    new.adopt(caller, NOBODY, knows_address and caller.address == address, world.paths())


async def node_is_lost(world: World) -> None:
    """It stops; others go on with its calls and fence it; it comes back and knows nothing of it."""
    lost, posts = world.any_node(), world.posts
    if len(world.transceivers) < 2 or world.relay is None:
        return
    index, epoch = lost.owner
    world.add_transceiver(FlowOwner(index, (epoch + 2) % 65536))  # one for the fence in the store
    verified = set(lost.verified)
    await asyncio.sleep(world.chance.uniform(0.01, 0.3))
    for caller in world.callers:
        if world.holder(caller) == lost.owner:
            if world.posts is posts:
                knows_address = caller.address in verified
                world.any_node().adopt(caller, lost.number, knows_address, world.paths())
            else:
                world.dial(caller)
    news_s = world.chance.uniform(0.02, 0.4)
    world.later(world.chance.uniform(0, news_s), _tell_late, world, index, epoch, lost.address)
    world.later(news_s, world.tell_relay, index)
    for _ in range(5):
        await asyncio.sleep(world.chance.uniform(0, 0.2))
        lost.haunt()


def _tell_late(world: World, index: int, epoch: int, address: bytes) -> None:
    """News of the lost owner, from before; the directory passes them on while it has none newer."""
    if world.relay:
        world.relay.learn(index, epoch, address)


async def keys_rotate(world: World) -> None:
    """In three steps, each at another moment in every process; the old token key stays known."""
    if world.rotating:
        return
    world.rotating = True
    before, number = world.keys, world.keys.trunk.current % 15 + 1
    keys = {number: world.chance.randbytes(32)}
    both_tokens, both_trunks = before.token.keys | keys, before.trunk.keys | keys  # type: ignore[operator]
    old = before.trunk.current
    await _everywhere(world, Keys(KeyRing(old, both_tokens), KeyRing(old, both_trunks)))
    await _everywhere(world, Keys(KeyRing(number, both_tokens), KeyRing(number, both_trunks)))
    await asyncio.sleep(0.1)  # what the old key signed has arrived
    await _everywhere(world, Keys(KeyRing(number, both_tokens), KeyRing(number, keys)))
    world.rotating = False


async def _everywhere(world: World, keys: Keys) -> None:
    world.keys = keys
    for transceiver in world.transceivers.values():
        await asyncio.sleep(world.chance.uniform(0, 0.02))
        transceiver.token_keys, transceiver.trunk_keys = keys.token, keys.trunk
    for relay in (world.relay, world.retiring):
        if relay:
            relay.rotate(keys)
    await asyncio.sleep(0.01)


async def strangers_flood(world: World) -> None:
    """Garbage, forged and recorded checks, from strangers and in callers' names."""
    relay = world.relay
    if relay is None or world.retiring:
        return
    for _ in range(_FLOOD_PACKETS):
        address, packet = _hostile(world)
        if world.relay is relay and not world.retiring:
            # Past the weather: another relay would not know a recording for what it is.
            world.arrive_public(address, packet)
    _forge_trunk(world)


def _hostile(world: World) -> tuple[bytes, bytes]:
    chance, caller = world.chance, world.any_caller()
    stranger = chance.choice(_STRANGERS)
    match chance.randrange(6):
        case 0:
            return stranger, b"\x80" + chance.randbytes(20)
        case 1:
            return stranger, chance.randbytes(chance.randint(0, 60))
        case 2:
            return stranger, _check(world, ufrag(), "x" * 32)
        case 3:
            return stranger, _check(world, caller.call.ufrag, "w" * 32)
        case 4:
            return stranger, _recording(world) or b"\x05"
        case _:
            return caller.address, _in_his_name(world, caller.address)


def _check(world: World, name: str, password: str) -> bytes:
    attributes = [(stun.Attribute.USERNAME, f"{name}:evil".encode())]
    request = stun.MessageClass.REQUEST
    return stun.write(1, request, world.chance.randbytes(12), attributes, password)


def _recording(world: World) -> bytes | None:
    """A caller's check that the relay has seen before."""
    assert world.relay
    seen = [p for p, c in world.ledger.checks.items() if world.relay.has_seen(c.transaction_id)]
    return world.chance.choice(seen) if seen else None


def _in_his_name(world: World, address: bytes) -> bytes:
    """What nobody can tell from media until it is decrypted: it goes where his flow goes."""
    packet = b"\x80" + world.ledger.next_serial() + world.chance.randbytes(8)
    world.ledger.media[packet] = address
    return packet


def _forge_trunk(world: World) -> None:
    """Datagrams with a wrong key, replayed ones, and good ones from where no transceiver is."""
    frames = [(world.chance.choice(_STRANGERS), b"amplified" * 50)]
    forged = trunk.pack(Tagger(KeyRing(1, {1: bytes(32)})), 1 << 16 | 1, 0, 1, frames)
    recent = list(world.ledger.datagrams.items())[-400:]
    recorded = [world.chance.choice(recent) for _ in range(20)] if recent else []
    for post in world.posts:
        for transceiver in world.transceivers.values():
            post.arrive(post.trunk, transceiver.address, forged)
        for data, sent in recorded:
            post.arrive(post.trunk, _STRANGERS[0], data)
            lives = [reader.life for reader in post.readers]
            if all(data in life.heard or not life.current(sent.owner) for life in lives):
                post.arrive(post.trunk, sent.source, data)


async def storm(world: World) -> None:
    """The callers' network is bad for a while."""
    world.to_relay.weather = world.from_relay.weather = STORM
    await asyncio.sleep(world.chance.uniform(0.2, 0.8))
    world.to_relay.weather = world.from_relay.weather = CALLERS


async def callers_fall_silent(world: World) -> None:
    """Longer than a flow lives: it is forgotten, and the next check makes it again."""
    caller = world.any_caller()
    caller.speaks = False
    await asyncio.sleep(world.chance.uniform(3.5, 5))
    caller.speaks = True


TROUBLES: tuple[Trouble, ...] = (
    worker_dies,
    worker_dies,
    relay_dies,
    relay_is_upgraded,
    store_goes_away,
    store_hangs,
    store_forgets,
    caller_rebinds,
    caller_rebinds,
    address_is_reused,
    address_is_reused,
    caller_dials_again,
    node_moves,
    node_is_replaced,
    call_moves,
    call_moves,
    call_moves,
    node_is_lost,
    node_is_lost,
    keys_rotate,
    strangers_flood,
    storm,
    callers_fall_silent,
)
